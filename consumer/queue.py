"""The queue: one method for each statement in sql/queries that moves a job.

Every write after the claim names the claim_id, and tells whether the claim still held: a late worker changes nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from consumer.database import Database
from consumer.job import MEASURED, Job

WORKER_LOST = "The worker stopped in the middle of this job."


@dataclass(frozen=True, slots=True)
class Beat:
    """One worker's count of heartbeats as the database has it; None when the worker's row is gone. `unlocked`: its
    listening connection is gone, too, or a pooler has let go of its lock.

    Without an id, it stands for jobs that were set to processing by hand, and that nobody holds."""

    worker_id: UUID | None
    beats: int | None = None
    lease_seconds: float | None = None
    unlocked: bool = False


class Queue:
    """The statements of one worker."""

    def __init__(
        self,
        database: Database,
        worker_id: UUID,
        max_attempts: int = 3,
        priority_seconds: float = 60.0,
        served: Sequence[str] = (),
    ) -> None:
        """`priority_seconds` is what a step of priority is worth: see claim_jobs.sql. `served` are all job types that
        this worker ever claims."""
        self.database = database
        self.worker_id = worker_id
        self.max_attempts = max_attempts
        self.priority_seconds = priority_seconds
        self.served = tuple(served)

    async def claim_jobs(self, job_types: Sequence[str], limit: int = 1) -> list[Job]:
        """The next jobs in line for these job types, now ours: at most `limit`, in the order of service. Not repeated
        by itself: a lost reply is found by the heartbeat."""
        rows = await self.database.run(
            "claim_jobs",
            {
                "worker_id": self.worker_id,
                "job_types": _array(tuple(job_types)),
                "served": _array((*self.served, *job_types)),
                "priority_seconds": self.priority_seconds,
            },
            limit,
        )
        return [self._job(row) for row in rows]

    async def store_prompt(self, job: Job, prompt: str | None, enhancement: Mapping[str, Any]) -> bool:
        """Keep the rewritten prompt, None where there is none, and what is told of it; False when the job is no longer
        ours."""
        return bool(await self._surely("store_prompt", job, prompt=prompt, enhancement=Jsonb(enhancement)))

    # The application may replace or delete a row that the statement has just read; a new one sees what is there.
    @retry(retry=retry_if_exception_type(ForeignKeyViolation), stop=stop_after_attempt(3), reraise=True)
    async def complete_job(self, job: Job, count: int) -> tuple[bool, bool]:
        """(completed, held): held and not completed means that some of the `count` assets have no result."""
        [row] = await self._surely("complete_job", job, count=count, measured=MEASURED)
        return row["completed"], row["held"]

    async def retry_job(self, job: Job, delay: float, error: Mapping[str, Any], *, give_back: bool = False) -> bool:
        """Queue the job again after `delay` seconds, with its attempt where that does not count (`give_back`); False
        when it is no longer ours."""
        return bool(await self._surely("retry_job", job, delay=delay, error=Jsonb(error), give_back=give_back))

    async def fail_job(self, job: Job, message: str, error: Mapping[str, Any]) -> bool:
        """End the job with a sentence for the user; False when it is no longer ours."""
        return bool(await self._surely("fail_job", job, message=message, error=Jsonb(error)))

    async def release_job(self, job_id: UUID, claim_id: int) -> bool:
        """Give the job back with its attempt; False when it is no longer ours."""
        return bool(await self.database.surely("release_job", {"job_id": job_id, "claim_id": claim_id}))

    async def read_status(self, job: Job) -> str | None:
        """The job's status now; None when its row is gone."""
        rows = await self.database.surely("read_status", {"job_id": job.id})
        return rows[0]["status"] if rows else None

    async def heartbeat(
        self, name: str, engines: Sequence[str], lease_seconds: float, idle: bool, lock_key: int | None = None
    ) -> list[Beat]:
        """Say that we live, and which lock our listening connection holds; returns every worker's heartbeat."""
        rows = await self.database.run(
            "heartbeat",
            {
                "worker_id": self.worker_id,
                "name": name,
                "engines": list(engines),
                "job_types": list(self.served),
                "lease_seconds": lease_seconds,
                "idle": idle,
                "lock_key": lock_key,
            },
        )
        return [Beat(**row) for row in rows]

    async def held_jobs(self) -> set[tuple[UUID, int]]:
        """(job id, claim_id) of every job that the database believes we hold."""
        rows = await self.database.run("held_jobs", {"worker_id": self.worker_id})
        return {(row["job_id"], row["claim_id"]) for row in rows}

    async def mark_idle(self) -> None:
        """Ask for notifications; to be followed by one more claim."""
        await self.database.run("mark_idle", {"worker_id": self.worker_id})

    async def promote_due(self) -> tuple[int, float | None]:
        """Put due jobs in line, and held ones that may run: how many, and the seconds until the next one is due (None:
        none waits)."""
        [row] = await self.database.run("promote_due", {})
        admitted = await self.admit_jobs() if row["held"] else 0
        return row["promoted"] + admitted, row["next_due"]

    async def admit_jobs(self, users: Sequence[UUID] | None = None) -> int:
        """Put held jobs of these users (None: of all) in line, as far as max_running lets them; returns how many."""
        [row] = await self.database.run("admit_jobs", {"users": None if users is None else list(users)})
        return int(row["jobs"])

    async def watch_workers(self) -> list[Beat]:
        """Every worker that is gone while a job still names it."""
        return [Beat(**row) for row in await self.database.run("watch_workers", {})]

    async def rescue_jobs(
        self, worker_id: UUID | None, beats: int | None, unlocked: bool = False
    ) -> list[tuple[UUID, str]]:
        """Take a dead worker's jobs from it: (job id, new status) of each. None if it has sent a heartbeat since, or,
        where it counts as dead only because it is `unlocked`, if its lock is held again."""
        rows = await self.database.run(
            "rescue_jobs",
            {
                "worker_id": worker_id,
                "beats": beats,
                "unlocked": unlocked,
                "max_attempts": self.max_attempts,
                "message": WORKER_LOST,
            },
        )
        return [(row["job_id"], row["status"]) for row in rows]

    async def delete_worker(self) -> None:
        """Take leave."""
        await self.database.run("delete_worker", {"worker_id": self.worker_id})

    async def known_job_types(self) -> set[str]:
        """The job types that the database's triggers know."""
        return {row["job_type"] for row in await self.database.run("known_job_types", {})}

    async def _surely(self, name: str, job: Job, **parameters: Any) -> list[dict[str, Any]]:
        return await self.database.surely(name, {"job_id": job.id, "claim_id": job.claim_id, **parameters})

    def _job(self, row: dict[str, Any]) -> Job:
        row["metadata"], history = _decoded(row["metadata"]), _decoded(row.pop("errors"))
        if row["max_attempts"] is None:
            row["max_attempts"] = self.max_attempts
        # Rows of the application's may have to be taken up first.
        if not row["pending"] or None in row["pending"]:
            row["pending"] = None
        errors = [error for error in history if isinstance(error, dict)] if isinstance(history, list) else []
        return Job(
            **row,
            given_back=sum(error.get("given_back") is True for error in errors),
            lost=sum(error.get("type") == "WorkerLost" for error in errors),
        )


@cache
def _array(names: tuple[str, ...]) -> str:
    """As Postgres writes an array of texts; the driver takes longer over a list, each time."""
    escaped = (name.replace("\\", r"\\").replace('"', r"\"") for name in names)
    return "{" + ",".join(f'"{name}"' for name in escaped) + "}"


def _decoded(text: str | None) -> Any:
    # Numbers of thousands of digits and deep nesting are fine for Postgres and too much for Python: such a request is
    # rejected like any other that makes no sense, and must not end the worker that claimed it.
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text
