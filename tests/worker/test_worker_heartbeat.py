"""The heartbeat holds the jobs, and a database that is away takes none from their worker."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.rows import dict_row

from consumer import embedded
from postgres import Database, migrate
from user_jobs import UserJobs
from workers import Site, Worker, check_picture, eventually


def test_a_worker_whose_row_was_deleted_is_there_again_and_keeps_its_job(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.middle"), jobs.submit("job")
    worker = site.start()
    gate.wait()
    assert jobs.run("delete from consumer.workers returning id") == [{"id": worker.id}]
    eventually(lambda: worker.id in jobs.workers(), "it is there again")
    gate.release()
    worker.wait_for("job.completed", job_id=job, attempt=1)


@pytest.fixture
def own_server() -> Iterator[embedded.Server]:
    """A server that this test may stop."""
    with embedded.start(settings={"fsync": "off", "full_page_writes": "off"}) as server:
        migrate(server.dsn())
        yield server


@pytest.fixture
def own_site(own_server: embedded.Server, tmp_path: Path) -> Iterator[Site]:
    """Workers of that server."""
    site = Site(own_server.dsn(), tmp_path)
    yield site
    site.close()


def wait_for_a_look(jobs: UserJobs, worker: Worker) -> None:
    """A worker looks after the others when it has sent its heartbeat."""
    beats = "select beats from consumer.workers where id = %s"
    before = jobs.value(beats, worker.id)
    eventually(lambda: jobs.value(beats, worker.id) >= before + 2, "it has looked")


def test_a_database_that_is_away_for_longer_than_a_lease_costs_no_attempt(
    own_server: embedded.Server, own_site: Site
) -> None:
    server, site = own_server, own_site
    database = Database("postgres", server.dsn(user="supabase_admin"))
    jobs = UserJobs(database)
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
    worker = site.start(lease_seconds="4")
    gate.wait()
    worker.wait_for("asset.recorded", job_id=job, index=0)
    other = site.start_idle()
    worker.signal(signal.SIGSTOP)
    wait_for_a_look(jobs, other)
    jobs.connection.close()

    server.stop_postgres()
    worker.signal(signal.SIGCONT)
    # Between two misses the other one waits two thirds of a second for an answer: the outage is longer than the lease.
    other.wait_for("heartbeat.missed", count=8)
    worker.wait_for("listener.lost")
    gate.release()
    eventually(lambda: len(site.drawn()) == 3, "the engine needs no database")
    worker.signal(signal.SIGSTOP)
    server.start_postgres()
    with database.connect(row_factory=dict_row) as connection:
        jobs.connection = connection
        # The other one must not judge by what it saw before the outage.
        wait_for_a_look(jobs, other)
        worker.signal(signal.SIGCONT)
        worker.wait_for("job.completed", job_id=job, attempt=1)
        assert not other.events("job.rescued")
        row = jobs.get(job)
        assert (row["status"], row["attempts"], row["errors"]) == ("completed", 1, [])
        for image in jobs.images(job):
            check_picture(site, image)
        assert [line["pid"] for line in site.drawn()] == [worker.pid] * 3
        jobs.submit("after")
        eventually(lambda: [*worker.events("job.completed"), *other.events("job.completed")][1:], "the next one runs")


def test_a_worker_that_starts_while_the_database_is_read_only_works_when_it_is_not(site: Site, jobs: UserJobs) -> None:
    job, name = jobs.submit("job"), jobs.value("select current_database()")
    jobs.run(f'alter database "{name}" set default_transaction_read_only = on')
    worker = site.start()
    worker.wait_for("worker.started")
    worker.wait_for("database.away")
    jobs.run(f'alter database "{name}" reset default_transaction_read_only')
    others = "select pg_terminate_backend(pid) from pg_stat_activity"
    jobs.run(
        f"{others} where datname = current_database() and pid <> pg_backend_pid() and query not like '%%read_only%%'"
    )
    worker.wait_for("job.completed", job_id=job, attempt=1)
