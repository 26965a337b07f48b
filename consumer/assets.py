"""The rows of a job's results, keyed by (job_id, image_index)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.errors import TriggeredDataChangeViolation, UniqueViolation
from psycopg.types.json import Jsonb
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from consumer.database import Database
from consumer.errors import LeaseLostError
from consumer.job import MEASURED, Job, Medium
from consumer.together import Together


@dataclass(frozen=True, slots=True)
class Result:
    """One stored asset, as its row will tell: paths in the bucket and measured metadata."""

    index: int
    seed: int
    url: str
    thumbnail_url: str
    format: str
    file_size: int
    metadata: Mapping[str, Any]


class Assets:
    """What a worker reads and writes of images and videos."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._record = Together(self._record_images)

    async def pending(self, job: Job, medium: Medium, count: int) -> list[int]:
        """The indexes (0..count-1) that have no result yet, after taking up rows that the application left loose."""
        key = {"job_id": job.id, "claim_id": job.claim_id, "count": count}
        indexes = await self._pending(medium, key)
        if not indexes or None in indexes:
            await self._prepare(medium, key)
            indexes = await self._pending(medium, key)
        return [index for index in indexes if index is not None]

    # The application may have taken a place while the statement waited for it; a new one sees that.
    @retry(retry=retry_if_exception_type(UniqueViolation), stop=stop_after_attempt(3), reraise=True)
    async def _prepare(self, medium: Medium, key: Mapping[str, Any]) -> None:
        await self.database.surely(f"prepare_{medium}s", key)

    async def _pending(self, medium: Medium, key: Mapping[str, Any]) -> list[int | None]:
        return [row["image_index"] for row in await self.database.surely(f"pending_{medium}s", key)]

    async def record(self, job: Job, medium: Medium, result: Result, count: int | None = None) -> tuple[bool, bool]:
        """(recorded, completed): make a result visible, and, where a `count` of pictures is given and none of them is
        missing any more, complete the job with it. Not recorded: its row is gone or has a result. Not completed: that
        is left to complete_job. Raises LeaseLostError."""
        if medium is Medium.image and (completed := await self._record((job, result, count))) is not None:
            return True, completed
        parameters = {
            "job_id": job.id,
            "claim_id": job.claim_id,
            "index": result.index,
            "seed": result.seed,
            "url": result.url,
            "thumbnail_url": result.thumbnail_url,
            "format": result.format,
            "file_size": result.file_size,
            "metadata": Jsonb(result.metadata),
        }
        # Twice, because an application's row that replaced ours while the first one waited was not yet visible to it.
        for _ in range(2):
            [row] = await self.database.surely(f"record_{medium}", parameters)
            if not row["held"]:
                raise LeaseLostError("The job is no longer held by this worker.")
            if row["recorded"]:
                return True, False
        return False, False

    async def _record_images(self, calls: Sequence[tuple[Job, Result, int | None]]) -> dict[int, bool]:
        jobs, results = [job for job, _, _ in calls], [result for _, result, _ in calls]
        parameters = {
            "job_ids": [job.id for job in jobs],
            "claim_ids": [job.claim_id for job in jobs],
            "indexes": [result.index for result in results],
            "seeds": [result.seed for result in results],
            "urls": [result.url for result in results],
            "thumbnail_urls": [result.thumbnail_url for result in results],
            "formats": [result.format for result in results],
            "file_sizes": [result.file_size for result in results],
            "metadatas": [Jsonb(result.metadata) for result in results],
            "counts": [count for _, _, count in calls],
            "measured": MEASURED,
            "unmeasured": list({str(name) for result in results for name in result.metadata}.difference(MEASURED)),
        }
        try:
            rows = await self.database.run("record_images", parameters)
        except TriggeredDataChangeViolation:
            # A trigger of the application's on images writes into the job's row, which this statement is about to do.
            rows = await self.database.run("record_images", parameters | {"counts": [None] * len(calls)})
        return {row["place"]: row["completed"] for row in rows}

    async def progress(self, job: Job, percent: int, steps: Mapping[int, int]) -> None:
        """Show how far the job (`percent`) and its assets ({index: percent}) are; nothing once it is not ours."""
        await self.database.run(
            "record_progress",
            {
                "job_id": job.id,
                "claim_id": job.claim_id,
                "progress": percent,
                "steps": Jsonb([{"index": index, "progress": done} for index, done in steps.items()]),
            },
        )
