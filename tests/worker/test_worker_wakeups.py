"""A notification is a hint, the sweep is the promise."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from postgres import Database, relogin
from user_jobs import UserJobs
from workers import Site, Worker


@pytest.fixture
def idle(site: Site, jobs: UserJobs) -> Worker:
    """A worker that has nothing to do, and that for an hour neither looks for work nor sends a heartbeat."""
    worker = site.start_idle(lease_seconds="3600")
    jobs.wait_for_idle()
    return worker


class Listener:
    """A role of its own for LISTEN, so that it can be locked out."""

    def __init__(self, db: Database) -> None:
        self.name = f"listener_{uuid4().hex[:8]}"
        self.admin_dsn = db.admin_dsn
        password = psycopg.conninfo.conninfo_to_dict(db.dsn)["password"]
        self._execute("create role {} login password {}", password)
        self.dsn = relogin(db.dsn, user=self.name)

    def lock_out(self) -> None:
        """No new connection for the role, and an end to the one it has."""
        self._execute("alter role {} nologin")
        with psycopg.connect(self.admin_dsn) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (self.name,)
            )

    def let_in(self) -> None:
        self._execute("alter role {} login")

    def drop(self) -> None:
        self.lock_out()
        self._execute("drop role {}")

    def _execute(self, statement: str, *values: str | int | None) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self.name), *map(sql.Literal, values)))


@pytest.fixture
def listener(db: Database) -> Iterator[Listener]:
    listener = Listener(db)
    yield listener
    listener.drop()


def test_an_idle_worker_hears_a_job_at_once(idle: Worker, jobs: UserJobs) -> None:
    first = jobs.submit("first")
    idle.wait_for("job.completed", job_id=first)
    jobs.wait_for_idle()
    second = jobs.submit("second")
    idle.wait_for("job.completed", job_id=second)


def test_a_job_committed_while_the_worker_went_idle_is_heard_at_once(site: Site, jobs: UserJobs) -> None:
    with jobs.db.as_user(jobs.user) as frontend:
        frontend.execute(
            "insert into jobs (job_type, original_prompt, user_id) values ('puppet', 'open', %s)", (jobs.user,)
        )
        worker = site.start_idle()
        jobs.wait_for_idle()
    worker.wait_for("job.completed")


def test_a_job_runs_within_the_sweep_interval_while_the_listener_is_cut_off(
    site: Site, jobs: UserJobs, listener: Listener
) -> None:
    worker = site.start_idle(listen_url=listener.dsn, sweep_seconds="2")
    jobs.wait_for_idle()
    listener.lock_out()
    worker.wait_for("listener.lost")
    job = jobs.submit("job")
    # The interval and its jitter, and what a job takes besides.
    worker.wait_for("job.completed", job_id=job, seconds=2 * 1.1 + 3)
    assert len(worker.events("listener.connected")) == 1


def test_a_job_inserted_while_the_listener_was_away_runs_when_it_is_back(
    site: Site, jobs: UserJobs, listener: Listener
) -> None:
    worker = site.start_idle(listen_url=listener.dsn, password_seconds="2")
    jobs.wait_for_idle()
    listener.lock_out()
    worker.wait_for("listener.lost", count=2)
    job = jobs.submit("job")
    assert jobs.get(job)["status"] == "queued"
    listener.let_in()
    worker.wait_for("job.completed", job_id=job)
    names = [event["event"] for event in worker.events()]
    assert names.index("job.claimed") > max(i for i, name in enumerate(names) if name == "listener.connected")


def test_a_listener_that_was_cut_off_hears_again(idle: Worker, jobs: UserJobs) -> None:
    listens = (
        "select pid from pg_stat_activity where datname = current_database() and query ~ '^listen|advisory_lock\\('"
    )
    jobs.terminate(jobs.value(listens))
    idle.wait_for("listener.connected", count=2)
    # The first may have been found because the worker looks after it has connected.
    for name in ("found", "heard"):
        job = jobs.submit(name)
        idle.wait_for("job.completed", job_id=job)
        jobs.wait_for_idle()


def test_a_delayed_job_starts_when_it_is_due_and_not_before(idle: Worker, jobs: UserJobs) -> None:
    [job] = jobs.run(
        "insert into public.jobs (user_id, job_type, original_prompt, available_at)"
        " values (%s, 'puppet', 'later', now() + interval '1 second') returning id, available_at",
        jobs.user,
    )
    idle.wait_for("job.completed", job_id=job["id"])
    assert jobs.get(job["id"])["started_at"] >= job["available_at"]


def test_jobs_that_are_due_at_once_start_at_once_on_several_workers(site: Site, jobs: UserJobs) -> None:
    gates = [site.gate(f"{name}.0.start") for name in ("a", "b")]
    for _ in gates:
        site.start_idle()
    jobs.wait_for_idle(2)
    jobs.run(
        "insert into public.jobs (user_id, job_type, original_prompt, available_at)"
        " select %s, 'puppet', name, now() + interval '1 second' from unnest(array['a', 'b']) as name returning id",
        jobs.user,
    )
    for gate in gates:
        gate.wait()
