"""Who is dead and who is only slow: a killed worker's job runs again soon, and nobody else's does."""

import signal
from collections.abc import Iterator

import pytest

from postgres import Database
from proxy import Proxy
from user_jobs import UserJobs
from workers import Site, Worker, eventually

DEFAULT = {"lease_seconds": "45"}

LISTENING = """
select l.pid from consumer.workers w join pg_locks l on l.locktype = 'advisory' and l.objid = w.lock_key::oid
where w.id = %s and l.objsubid = 2
"""


@pytest.fixture
def proxy(db: Database) -> Iterator[Proxy]:
    proxy = Proxy(db.dsn)
    yield proxy
    proxy.close()


def wait_for_lock(jobs: UserJobs, worker: Worker) -> None:
    """Until its row names a lock that is held."""
    eventually(lambda: jobs.run(LISTENING, worker.id), "it holds its lock, and says so")


def cut(jobs: UserJobs, worker: Worker) -> None:
    """End its listening connection, where there is one."""
    for row in jobs.run(LISTENING, worker.id):
        jobs.run("select pg_terminate_backend(%s)", row["pid"])


def test_a_killed_workers_job_runs_again_soon_and_that_of_no_slow_or_cut_off_worker(
    site: Site, jobs: UserJobs, proxy: Proxy
) -> None:
    gates = [site.gate(f"{name}.0.middle") for name in "abcd"]
    ids = [jobs.submit(name) for name in "abcd"]
    stopped, deafened, killed = (site.start(**DEFAULT) for _ in range(3))
    cut_off = site.start(DATABASE_URL=proxy.dsn, **DEFAULT)
    for gate in gates:
        gate.wait()
    holders = {jobs.get(job)["worker_id"]: job for job in ids}
    for worker in (stopped, deafened, killed, cut_off):
        wait_for_lock(jobs, worker)
    watcher = site.start_idle(**DEFAULT)
    jobs.wait_for_idle()

    stopped.signal(signal.SIGSTOP)
    proxy.stall()
    cut(jobs, deafened)
    killed.kill()
    eventually(lambda: cut(jobs, deafened) or watcher.events("job.claimed"), "its job runs again", 15)

    # Two others were silent for as long: a heartbeat that gets no answer is waited for longer than that.
    watcher.wait_for("job.claimed", job_id=holders[killed.id], attempt=2)
    rescued = watcher.events("job.rescued") + deafened.events("job.rescued")
    assert [event["job_id"] for event in rescued] == [str(holders[killed.id])]
    [error] = jobs.get(holders[killed.id])["errors"]
    assert (error["type"], error["worker"]) == ("WorkerLost", str(killed.id))

    # What was cut off comes back by itself, and what stood still goes on where it was.
    cut_off.wait_for("heartbeat.missed")
    beats = jobs.workers()[cut_off.id]["beats"]
    eventually(lambda: jobs.workers()[cut_off.id]["beats"] > beats, "it beats again")
    stopped.signal(signal.SIGCONT)
    for gate in gates:
        gate.release()
    for worker in (stopped, deafened):
        worker.wait_for("job.completed", job_id=holders[worker.id], attempt=1)
    watcher.wait_for("job.completed", job_id=holders[killed.id], attempt=2)
