"""Jobs as their user sends and cancels them, and locks that hold a worker's statements up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from consumer.statements import query
from jobs import Jobs, Row
from postgres import Database
from workers import PATIENCE, eventually


class UserJobs(Jobs):
    """The rows of one test's database, and the user whose jobs they are."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.db = db

    def submit(self, prompt: str, count: int = 1, job_type: str = "puppet", **metadata: Any) -> UUID:
        """Insert a job as a frontend does; returns its id."""
        sent = {"num_images": count, "seed": 1000, **metadata}
        [[job_id]] = self.db.execute_as(
            self.user,
            "insert into jobs (job_type, original_prompt, metadata, user_id) values (%s, %s, %s, %s) returning id",
            (job_type, prompt, Jsonb(sent), self.user),
        )
        return job_id

    def cancel(self, job_id: UUID) -> str:
        """Call cancel_job as the user."""
        [[status]] = self.db.execute_as(self.user, "select public.cancel_job(%s)", (job_id,))
        return status

    def wait_until(self, job_id: UUID, *states: str, seconds: float = PATIENCE) -> Row:
        """The job's row as soon as it has one of these states."""
        eventually(lambda: self.get(job_id)["status"] in states, f"{job_id} is {states}", seconds)
        return self.get(job_id)

    def hurry(self, job_id: UUID) -> None:
        """Make a job due that waits for its next attempt."""
        self.run("update public.jobs set available_at = now() where id = %s", job_id)
        self.run("select pg_notify('consumer_jobs', '')")

    def wait_for_beats(self, count: int) -> None:
        """Wait for so many more heartbeats of the one worker that lives."""
        before = self.value("select beats from consumer.workers")
        eventually(lambda: self.run("select id from consumer.workers where beats >= %s", before + count), "it beats")

    def wait_for_idle(self, count: int = 1) -> None:
        """Wait until so many workers ask for notifications."""
        asking = "select id from consumer.workers where idle_since is not null"
        eventually(lambda: len(self.run(asking)) == count, f"{count} workers are idle")

    @contextmanager
    def locked(self, statement: str, *parameters: Any) -> Iterator[None]:
        """Hold the locks that `statement` takes; whatever waits for them goes on at the end."""
        with self.db.connect(autocommit=False) as holder:
            holder.execute(statement.encode(), parameters)
            yield
            holder.rollback()

    def blocked(self, name: str) -> int:
        """The backend that waits for a lock in the statement of sql/queries/{name}.sql, as soon as there is one."""
        opening = query(name).splitlines()[0]
        waiting = (
            "select pid from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock' and starts_with(query, %s)"
        )
        rows = eventually(lambda: self.run(waiting, opening), f"{name} waits for a lock")
        return int(rows[0]["pid"])

    def terminate(self, backend: int) -> None:
        """End a connection, as a server does that has noticed the death of the client."""
        assert self.value("select pg_terminate_backend(%s, 5000)", backend)
