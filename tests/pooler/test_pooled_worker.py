"""The whole worker behind PgBouncer."""

import signal
from datetime import datetime
from uuid import UUID

import psycopg
import pytest

from consumer import embedded
from pgbouncer import Pooled
from postgres import Database
from user_jobs import UserJobs
from workers import LEASE, Site, Worker, check_picture, eventually

pytestmark = pytest.mark.pgbouncer

MANY = 12
"""Jobs: psycopg prepares what it has run more than five times."""

LISTENING = "select pid from pg_stat_activity where datname = current_database() and query ~ '^listen|advisory_lock\\('"


def check_completed(site: Site, jobs: UserJobs, job: UUID) -> None:
    """In its first attempt, without an error, with all its pictures."""
    row = jobs.get(job)
    assert (row["status"], row["attempts"], row["errors"]) == ("completed", 1, [])
    assert [asset["metadata"]["asset_index"] for asset in row["metadata"]["assets"]] == list(
        range(len(jobs.images(job)))
    )
    for image in jobs.images(job):
        check_picture(site, image)


def assert_as_it_was(dsn: str) -> None:
    """Who comes next through the pooler finds no setting of the worker's."""
    with psycopg.connect(dsn, prepare_threshold=None) as connection:
        assert connection.execute("show plan_cache_mode").fetchone() == ("auto",)


def missed_for(worker: Worker) -> float:
    """Seconds between the first heartbeat that a worker missed and the last."""
    times = [datetime.fromisoformat(missed["time"]) for missed in worker.events("heartbeat.missed")]
    return (times[-1] - times[0]).total_seconds() if times else 0.0


def stop(worker: Worker) -> dict[str, int]:
    """Stop a worker politely; returns how its jobs were found."""
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    [stopped] = worker.events("worker.stopped")
    return {name.removeprefix("found_by_"): count for name, count in stopped.items() if name.startswith("found_by_")}


def run_one_by_one(site: Site, jobs: UserJobs, worker: Worker, seconds: float) -> None:
    """Submit jobs to a worker that waits for one, each of two pictures; each is done within so many seconds."""
    for number in range(MANY):
        jobs.wait_for_idle()
        # It has looked a second time, too.
        jobs.wait_for_beats(1)
        job = jobs.submit(f"job{number}", 2)
        worker.wait_for("job.completed", job_id=job, attempt=1, seconds=seconds)
        check_completed(site, jobs, job)


def test_work_in_transaction_mode_and_listen_direct(site: Site, jobs: UserJobs, pooled: Pooled) -> None:
    pooler = pooled(jobs.db.dsn, "transaction")
    worker = site.start_idle(DATABASE_URL=pooler.dsn, listen_url=jobs.db.dsn)
    worker.wait_for("listener.hears")
    run_one_by_one(site, jobs, worker, seconds=10)
    site.endless.touch()
    running = jobs.submit("running", endless=[0])
    worker.wait_for("job.claimed", job_id=running)
    jobs.cancel(running)
    worker.wait_for("job.cancelled", job_id=running)
    assert not worker.events("listener.deaf")
    assert stop(worker).get("notify", 0) >= MANY
    assert_as_it_was(pooler.dsn)


def test_everything_in_transaction_mode_is_told_once_and_looked_for(site: Site, jobs: UserJobs, pooled: Pooled) -> None:
    pooler = pooled(jobs.db.dsn, "transaction")
    worker = site.start_idle(DATABASE_URL=pooler.dsn, probe_seconds="0.5")
    told = worker.wait_for("listener.deaf", seconds=5)
    assert told["level"] == "warning"
    assert told["text"] == (
        "DATABASE_URL goes through a pooler in transaction mode (as on port 6543), which swallows "
        "notifications: set CONSUMER_LISTEN_URL to a direct or session address (port 5432)."
    )
    # A sweep and its jitter, and what a job takes besides. Without being deaf the next sweep would be in an hour.
    run_one_by_one(site, jobs, worker, seconds=2 * 1.1 + 5)
    worker.wait_for("listener.connected", count=3)
    assert len(worker.events("listener.deaf")) == 1
    assert not worker.events("listener.hears")
    assert "Prepared" not in worker.output
    found_by = stop(worker)
    assert "notify" not in found_by


def test_session_mode(site: Site, jobs: UserJobs, pooled: Pooled) -> None:
    pooler = pooled(jobs.db.dsn, "session")
    worker = site.start_idle(DATABASE_URL=pooler.dsn)
    worker.wait_for("listener.hears")
    run_one_by_one(site, jobs, worker, seconds=10)
    assert not worker.events("listener.deaf")
    assert stop(worker)["notify"] >= MANY - 1
    assert_as_it_was(pooler.dsn)


def test_a_listener_whose_backend_ends_hears_again(site: Site, jobs: UserJobs, pooled: Pooled) -> None:
    pooler = pooled(jobs.db.dsn, "session")
    worker = site.start_idle(DATABASE_URL=pooler.dsn)
    worker.wait_for("listener.hears")
    jobs.terminate(jobs.value(LISTENING))
    worker.wait_for("listener.hears", count=2)
    jobs.wait_for_idle()
    jobs.wait_for_beats(1)
    job = jobs.submit("job")
    worker.wait_for("job.completed", job_id=job)
    assert stop(worker) == {"notify": 1}
    assert not worker.events("listener.deaf")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_backends_that_end_in_the_middle_of_a_job_cost_nothing(
    site: Site, jobs: UserJobs, pooled: Pooled, mode: str
) -> None:
    pooler = pooled(jobs.db.dsn, mode)
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
    worker = site.start(DATABASE_URL=pooler.dsn, listen_url=jobs.db.dsn)
    gate.wait()
    worker.wait_for("asset.recorded", job_id=job, index=0)
    ended = jobs.run(
        "select pg_terminate_backend(pid, 5000) as ended from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        " and usename = current_user"
    )
    assert len(ended) >= 2
    gate.release()
    worker.wait_for("job.completed", job_id=job)
    check_completed(site, jobs, job)
    assert [line["pid"] for line in site.drawn("job")] == [worker.pid] * 3


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_that_is_restarted_costs_nothing(site: Site, jobs: UserJobs, pooled: Pooled, mode: str) -> None:
    pooler = pooled(jobs.db.dsn, mode)
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
    worker = site.start(DATABASE_URL=pooler.dsn)
    gate.wait()
    pooler.stop()
    eventually(lambda: missed_for(worker) > LEASE, "it missed its heartbeats for longer than its lease")
    gate.release()
    eventually(lambda: len(site.drawn()) == 3, "the engine needs no database")
    pooler.start()
    worker.wait_for("job.completed", job_id=job)
    check_completed(site, jobs, job)
    after = jobs.submit("after")
    worker.wait_for("job.completed", job_id=after)
    stop(worker)


def test_a_pool_that_is_full_costs_nothing(site: Site, jobs: UserJobs, pooled: Pooled) -> None:
    pooler = pooled(jobs.db.dsn, "transaction", default_pool_size=2, query_wait_timeout=1)
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
    worker = site.start(DATABASE_URL=pooler.dsn, listen_url=jobs.db.dsn)
    gate.wait()
    holders = [psycopg.connect(pooler.dsn) for _ in range(2)]
    try:
        for holder in holders:
            holder.execute("select 1")
        gate.release()
        worker.wait_for("database.away", statement="record_image")
        worker.wait_for("heartbeat.missed", count=2)
        assert "query_wait_timeout" in pooler.log
    finally:
        for holder in holders:
            holder.close()
    worker.wait_for("job.completed", job_id=job)
    check_completed(site, jobs, job)


@pytest.mark.parametrize("mode", [None, "transaction", "session"], ids=["direct", "transaction", "session"])
def test_a_database_that_is_away_for_longer_than_the_lease_costs_nothing(
    own_server: embedded.Server, tmp_path, pooled: Pooled, mode: str | None
) -> None:
    dsn = pooled(own_server.dsn(), mode).dsn if mode else own_server.dsn()
    database = Database("postgres", own_server.dsn(user="supabase_admin"))
    site, jobs = Site(own_server.dsn(), tmp_path), UserJobs(database)
    try:
        gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
        worker = site.start(DATABASE_URL=dsn)
        gate.wait()
        worker.wait_for("asset.recorded", job_id=job, index=0)
        jobs.connection.close()
        own_server.stop_postgres()
        eventually(lambda: missed_for(worker) > LEASE, "it missed its heartbeats for longer than its lease")
        gate.release()
        eventually(lambda: len(site.drawn()) == 3, "the engine needs no database")
        own_server.start_postgres()
        with database.connect(row_factory=psycopg.rows.dict_row) as connection:
            jobs.connection = connection
            worker.wait_for("job.completed", job_id=job, attempt=1)
            check_completed(site, jobs, job)
            after = jobs.submit("after")
            worker.wait_for("job.completed", job_id=after)
            stop(worker)
            assert {line["pid"] for line in site.drawn()} == {worker.pid}
    finally:
        site.close()
