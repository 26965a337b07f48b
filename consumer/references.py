"""The pictures that a request refers to: fetched once, as bytes, from nowhere they should not come from."""

from collections.abc import Collection

from consumer.errors import RejectedError
from consumer.job import Job
from consumer.request import Request
from consumer.storage.base import Storage

FIELDS = ("reference_url", "start_reference_url", "end_reference_url")


class References:
    """Fetches for the jobs of one worker."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def fetch(self, job: Job, request: Request, used: Collection[str]) -> Request:
        """`request` with its references. `used` are the fields that the engine uses.

        Raises RejectedError for a reference that cannot be had, StorageUnavailableError for one that may come later."""
        for field in FIELDS:
            if getattr(request, field):
                raise RejectedError(f"{field} is not supported by the {job.engine} engine.")
        return request
