"""Jobs in a test's database, and workers whose every statement is a step of the test.

`Jobs` reads and writes rows as their owner. `Hands` is what one worker does, one call a statement, through the
real `Queue` and `Assets`.
"""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from consumer.assets import Assets, Result
from consumer.job import Job, Medium
from consumer.queue import Queue
from postgres import Database as TestDatabase

T = TypeVar("T")
Row = dict[str, Any]

ERROR = {"attempt": 1, "at": "2026-01-01T00:00:00+00:00", "worker": "w", "type": "OddError", "message": "It broke."}
"""An entry of jobs.errors, as the worker writes them."""


def adapted(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value


class Jobs:
    """The rows of one test's database, and a user to own them."""

    def __init__(self, db: TestDatabase) -> None:
        self.connection = db.connect(row_factory=dict_row)
        self.user = db.user()

    def add(self, job_type: str = "sketch", count: int = 1, *, metadata: Row | None = None, **columns: Any) -> UUID:
        """Insert a job of `count` assets; the trigger makes their rows and puts it in line."""
        sent = {"num_images": count, **(metadata or {})}
        return self.insert("jobs", {"user_id": self.user, "job_type": job_type, "metadata": sent, **columns})

    def insert(self, table: str, columns: Mapping[str, Any]) -> UUID:
        """Insert one row into a table of the schema public; returns its id."""
        statement = sql.SQL("insert into public.{} ({}) values ({}) returning id").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        )
        return self._one(statement, {name: adapted(value) for name, value in columns.items()})["id"]

    def get(self, job_id: UUID) -> Row:
        """The job's row."""
        return self._one("select * from public.jobs where id = %s", (job_id,))

    def images(self, job_id: UUID) -> list[Row]:
        """The job's image rows in order of index."""
        statement = "select * from public.images where job_id = %s order by image_index, created_at, id"
        return self.connection.execute(statement, (job_id,)).fetchall()

    def videos(self, job_id: UUID) -> list[Row]:
        """The job's video rows in order of index."""
        statement = "select * from public.videos where job_id = %s order by image_index, created_at, id"
        return self.connection.execute(statement, (job_id,)).fetchall()

    def rows(self, job_id: UUID) -> tuple[Row, list[Row], list[Row]]:
        """All that the database holds of a job: to see that nothing was written."""
        return self.get(job_id), self.images(job_id), self.videos(job_id)

    def set(self, job_id: UUID, **columns: Any) -> None:
        """Change columns of a job as a person with all rights would."""
        assignments = [sql.SQL("{} = {}").format(sql.Identifier(c), sql.Placeholder(c)) for c in columns]
        statement = sql.SQL("update public.jobs set {} where id = %(key)s").format(sql.SQL(", ").join(assignments))
        self.connection.execute(statement, {"key": job_id, **{name: adapted(v) for name, v in columns.items()}})

    def run(self, statement: str, *parameters: Any) -> list[Row]:
        """Run any statement as the owner."""
        cursor = self.connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *parameters: Any) -> Any:
        """The one value of any statement."""
        return next(iter(self._one(statement, parameters).values()))

    def workers(self) -> dict[UUID, Row]:
        """Every worker's row."""
        return {row["id"]: row for row in self.run("select * from consumer.workers")}

    def _one(self, statement: Any, parameters: Any) -> Row:
        [row] = self.connection.execute(statement, parameters).fetchall()
        return row


class Hands:
    """What one worker does."""

    def __init__(self, runner: asyncio.Runner, database: Any, worker_id: UUID | None = None, tries: int = 3) -> None:
        self.runner = runner
        self.database = database
        self.id = worker_id or uuid4()
        self.queue = Queue(database, self.id, tries)
        self.assets = Assets(database)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one step to its end."""
        return self.runner.run(work)

    def claim(self, *job_types: str) -> Job | None:
        """The next job of these types, or None."""
        jobs = self.do(self.queue.claim_jobs(job_types or ("sketch",)))
        return jobs[0] if jobs else None

    def take(self, *job_types: str) -> Job:
        """The next job, which is there."""
        job = self.claim(*job_types)
        assert job is not None, "there was no job to claim"
        return job

    def record(self, job: Job, index: int = 0, medium: Medium = Medium.image, **metadata: Any) -> bool:
        """Record one asset; raises LeaseLostError."""
        return self.do(self.assets.record(job, medium, result(job, index, medium, **metadata)))[0]

    def progress(self, job: Job, percent: int, steps: Mapping[int, int] | None = None) -> None:
        self.do(self.assets.progress(job, percent, steps or {}))

    def complete(self, job: Job, count: int = 1) -> tuple[bool, bool]:
        """(completed, held)."""
        return self.do(self.queue.complete_job(job, count))

    def retry(self, job: Job, delay: float = 60.0) -> bool:
        return self.do(self.queue.retry_job(job, delay, ERROR))

    def fail(self, job: Job, message: str = "The picture could not be made.") -> bool:
        return self.do(self.queue.fail_job(job, message, ERROR))

    def release(self, job: Job) -> bool:
        return self.do(self.queue.release_job(job.id, job.claim_id))

    def beat(self, idle: bool = False, lease_seconds: float = 45.0) -> set[tuple[UUID, int]]:
        """Send a heartbeat: (job id, claim_id) of what the database says we hold."""
        return self.do(self.queue.heartbeat("a worker", ("sketch",), lease_seconds, idle))

    def watch(self) -> dict[UUID, int | None]:
        """Every worker's count of heartbeats."""
        return {beat.worker_id: beat.beats for beat in self.do(self.queue.watch_workers())}

    def rescue(self, worker: UUID, beats: int | None) -> list[tuple[UUID, str]]:
        return self.do(self.queue.rescue_jobs(worker, beats))

    def promote(self) -> tuple[int, float | None]:
        """How many jobs were put in line, and in how many seconds the next is due."""
        return self.do(self.queue.promote_due())


def result(job: Job, index: int = 0, medium: Medium = Medium.image, **metadata: Any) -> Result:
    """What delivery hands over for one asset, with `metadata` beside what is always measured."""
    extension = "png" if medium is Medium.image else "mp4"
    measured = {
        "width": 512, "height": 768, "format": extension, "file_size_bytes": 1000 + index, "seed": 7 + index,
        "asset_index": index, "mime_type": f"{medium}/{extension}", "bucket": "workspace-temp",
    }  # fmt: skip
    folder = f"{job.user_id}/{job.id}"
    return Result(
        index=index, seed=7 + index, url=f"{folder}/{index}.{extension}", thumbnail_url=f"{folder}/{index}.thumb.webp",
        format=extension, file_size=1000 + index, metadata=measured | metadata,
    )  # fmt: skip


def story(jobs: Jobs, job: Job) -> list[Row]:
    """A job's rows without what differs from job to job: names for ids, and of moments only whether they are told."""
    row, images, videos = jobs.rows(job.id)
    text = json.dumps([row, *images, *videos], default=lambda v: "then" if isinstance(v, datetime) else str(v))
    for name, key in [("the job", job.id), *((f"image {n}", image["id"]) for n, image in enumerate(images))]:
        text = text.replace(str(key), name)
    own = ("claim_id", "version")
    return [{name: value for name, value in told.items() if name not in own} for told in json.loads(text)]
