"""The pictures that a request refers to: fetched once, as bytes, from nowhere they should not come from."""

import asyncio
import re
from collections.abc import Collection
from typing import TYPE_CHECKING
from uuid import UUID

from consumer.errors import ReferenceUnavailableError, RejectedError, StorageRefusedError, unwrap
from consumer.fields import canonical
from consumer.job import Job
from consumer.pictures import decode
from consumer.request import Reference, Request
from consumer.storage.base import Storage

if TYPE_CHECKING:
    from consumer.web import Web

FIELDS = ("reference_url", "start_reference_url", "end_reference_url")
BUCKETS = ("workspace-temp", "user-library")
"""Where users keep pictures, beside the bucket of the results."""

LIMIT = 20 * 1024**2
SECONDS = 20.0

KEY = re.compile(r"[\w/!.*'() &$@=;:+,?-]+", re.ASCII)
"""What the name of an object can hold."""


def named(request: Request) -> dict[str, str]:
    """What `request` refers to, by its fields."""
    return {field: value for field in FIELDS if (value := getattr(request, field))}


class References:
    """Fetches for the jobs of one worker."""

    def __init__(self, storage: Storage, web: "Web | None" = None, seconds: float = SECONDS) -> None:
        """`seconds` is how long it may take to get one picture; `web` is made when it is first needed."""
        self.storage = storage
        self.seconds = seconds
        self._web = web

    async def fetch(self, job: Job, request: Request, used: Collection[str]) -> Request:
        """`request` with its references, by their fields. `used` are the fields that the engine uses.

        Raises RejectedError for a reference that cannot be had, and for one that may come later
        ReferenceUnavailableError or StorageUnavailableError."""
        wanted = named(request)
        for field in wanted:
            if field not in used:
                raise RejectedError(f"{sent_as(job, field)} is not supported by the {job.engine} engine.")
        # What two fields refer to is fetched once.
        names = {value: sent_as(job, field) for field, value in wanted.items()}
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    value: group.create_task(self._reference(name, value, job.user_id)) for value, name in names.items()
                }
        except ExceptionGroup as errors:
            raise unwrap(errors) from errors
        found = {field: tasks[value].result() for field, value in wanted.items()}
        return request.model_copy(update={"references": found})

    async def _reference(self, name: str, value: str, owner: UUID) -> Reference:
        try:
            async with asyncio.timeout(self.seconds):
                data = await self._bytes(name, value, owner)
        except TimeoutError as error:
            raise ReferenceUnavailableError(
                f"{name} could not be had: it took longer than {self.seconds:g} seconds."
            ) from error
        return Reference(data, await asyncio.to_thread(decode, name, data))

    async def _bytes(self, name: str, value: str, owner: UUID) -> bytes:
        if value.lower().startswith("https:"):
            if self._web is None:
                self._web = await asyncio.to_thread(open_web)
            return await self._web.get(name, value, LIMIT)
        bucket, key = self._place(name, value, owner)
        try:
            return await self.storage.download(key, bucket, LIMIT)
        except StorageRefusedError as error:
            said = str(error)
            raise RejectedError(f"{name} could not be had: {said[0].lower()}{said[1:]}") from error

    def _place(self, name: str, value: str, owner: UUID) -> tuple[str, str]:
        """Bucket and key of a path; RejectedError unless it stays in the folder of `owner`."""
        path = value.removeprefix("/")
        first, _, rest = path.partition("/")
        bucket, key = (first, rest) if first in (self.storage.bucket, *BUCKETS) else (self.storage.bucket, path)
        folder, *inside = key.split("/")
        if (
            folder != str(owner)
            or not inside
            or any(part in ("", ".", "..") for part in inside)
            or not KEY.fullmatch(key)
        ):
            raise RejectedError(f"{name} must be an https address, or the path of a picture in the user's own folder.")
        return bucket, key


def sent_as(job: Job, field: str) -> str:
    """The name under which the request has `field`, for frontends know it by several."""
    sent = job.metadata if isinstance(job.metadata, dict) else {}
    return next((name for name, value in sent.items() if value and canonical(name) == field), field)


def open_web() -> "Web":
    """What gets pictures from the web."""
    from consumer.web import Web  # noqa: PLC0415 it takes an eighth of a second

    return Web()
