"""From pixels to a visible result, beside the GPU: encode, thumbnail, upload, record.

Bytes are made once; every retry of an upload sends the same bytes. The number of outputs under way is bounded, so
that a slow storage slows the lane instead of filling the memory.
"""

import asyncio
import math
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

from consumer import events
from consumer.assets import Assets, Result
from consumer.encode import Encoded, encode, thumbnail
from consumer.engines.base import Output
from consumer.errors import StorageUnavailableError, unwrap
from consumer.failpoints import Point, reach
from consumer.job import Medium
from consumer.lease import DEAD_SECONDS, Lease, Trust
from consumer.reach import Reach
from consumer.storage.base import PART, Storage

TRIES = 6
"""All tries of one upload, and the waits between them, may take so many times as long as one."""

BACKOFF = wait_random_exponential(multiplier=0.2, max=5)

ROOM = 8
"""Outputs that may be under way at once, over all jobs of this worker."""


class TrustEndedError(Exception):
    """The database was away for too long: the upload was ended, and that is not the storage's fault."""


@dataclass(slots=True)
class Outputs:
    """Of one job: what delivers them, how many are not stored yet, and, once no more will come, how many assets the job
    is of."""

    tasks: list[asyncio.Task[bool]] = field(default_factory=list)
    to_store: int = 0
    count: int | None = None


class Delivery:
    """Delivers the outputs of all jobs of one worker."""

    def __init__(self, assets: Assets, storage: Storage, trust: Trust, upload_seconds: float, room: int = ROOM) -> None:
        self.assets = assets
        self.storage = storage
        self.reach = Reach(storage, upload_seconds)
        self.trust = trust
        self.upload_seconds = upload_seconds
        self._room = asyncio.Semaphore(room)
        self._encoders = ThreadPoolExecutor(2, thread_name_prefix="encode")
        self._outputs: dict[Lease, Outputs] = defaultdict(Outputs)

    async def put(self, lease: Lease, medium: Medium, output: Output) -> None:
        """Begin to deliver one output; waits while too many are under way."""
        await self._room.acquire()
        outputs = self._outputs[lease]
        task = asyncio.create_task(self._deliver(lease, medium, output, outputs))
        task.add_done_callback(lambda _: self._room.release())
        outputs.tasks.append(task)
        outputs.to_store += 1

    async def finish(self, lease: Lease, count: int) -> bool:
        """Wait for all outputs of a job, which has no more than were put; whether the last one to be stored completed
        the job of `count` assets as it was recorded. Raises the gravest failure: one that fails leaves the others
        alone."""
        outputs = self._outputs[lease]
        outputs.count = count
        outcomes = await asyncio.gather(*outputs.tasks, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise unwrap(BaseExceptionGroup("outputs were not delivered", failures))
        del self._outputs[lease]
        return True in outcomes

    async def settle(self, lease: Lease, at_once: bool) -> None:
        """Let what is under way end, or end it `at_once`, whatever comes of it: the job's row is next."""
        tasks = self._outputs.pop(lease, Outputs()).tasks
        for task in tasks if at_once else ():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, lease: Lease, medium: Medium, output: Output, outputs: Outputs) -> bool:
        """Whether it completed the job."""
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._encoders, encode, output.pixels, output.fps)
        small = await loop.run_in_executor(self._encoders, thumbnail, output.pixels)
        reach(Point.encoded)
        folder = f"{lease.job.user_id}/{lease.job.id}"
        url = f"{folder}/{output.index}.{encoded.extension}"
        thumbnail_url = f"{folder}/{output.index}.thumb.{small.extension}"
        await self.upload(lease, url, encoded)
        reach(Point.uploaded)
        await self.upload(lease, thumbnail_url, small)
        reach(Point.stored)
        result = Result(
            index=output.index, seed=output.seed, url=url, thumbnail_url=thumbnail_url, format=encoded.extension,
            file_size=len(encoded.data), metadata=self._measured(output, encoded),
        )  # fmt: skip
        outputs.to_store -= 1
        count = None if outputs.to_store else outputs.count
        _, completed = await self.assets.record(lease.job, medium, result, count)
        reach(Point.recorded)
        events.emit("asset.recorded", job_id=lease.job.id, index=output.index, bytes=len(encoded.data))
        return completed

    async def upload(self, lease: Lease, key: str, encoded: Encoded) -> None:
        """Upload until it is stored. After too long a time raises StorageAwayError where the storage answers nothing at
        all, and StorageUnavailableError where it is only these bytes."""
        try:
            await self._upload(lease, key, encoded)
        except StorageUnavailableError as error:
            raise await self.reach.judge(error) from error
        self.reach.found()

    async def _upload(self, lease: Lease, key: str, encoded: Encoded) -> None:
        seconds = self.upload_seconds * math.ceil(len(encoded.data) / PART)
        while True:
            await self.trust.wait()
            with suppress(TrustEndedError):
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(StorageUnavailableError),
                    stop=stop_before_delay(TRIES * seconds),
                    wait=pause,
                    sleep=partial(rest, lease),
                    reraise=True,
                ):
                    with attempt:
                        await self._upload_once(lease, key, encoded, seconds)
                return

    async def _upload_once(self, lease: Lease, key: str, encoded: Encoded, seconds: float) -> None:
        """One upload, which ends in time, and at once when the trust window or the lease does."""
        upload = asyncio.create_task(self.storage.upload(key, encoded.data, encoded.content_type))
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            while not upload.done():
                lease.check()
                left, trusted = deadline - asyncio.get_running_loop().time(), self.trust.remaining()
                if trusted <= 0:
                    raise TrustEndedError
                if left <= 0:
                    raise StorageUnavailableError(f"An upload took longer than {seconds:g} seconds.")
                # The next heartbeat may shorten the trust.
                wait = min(left, trusted, DEAD_SECONDS)
                await asyncio.wait({upload, lease.stopping()}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            await upload
        except StorageUnavailableError as error:
            self.reach.lost(error)
            raise
        finally:
            upload.cancel()
            # The transfer is over before the next one begins.
            await asyncio.gather(upload, return_exceptions=True)

    def _measured(self, output: Output, encoded: Encoded) -> dict[str, Any]:
        measured: dict[str, Any] = {
            **output.metadata,
            "width": encoded.width,
            "height": encoded.height,
            "format": encoded.extension,
            "mime_type": encoded.content_type,
            "file_size_bytes": len(encoded.data),
            "seed": output.seed,
            "asset_index": output.index,
            "bucket": self.storage.bucket,
        }
        if encoded.duration_seconds is not None:
            measured |= {
                "duration_seconds": encoded.duration_seconds,
                "num_frames": encoded.frames,
                "fps": output.fps,
            }
        return measured

    def close(self) -> None:
        """Let go of the encoders' threads."""
        self._encoders.shutdown(wait=False, cancel_futures=True)


def pause(state: RetryCallState) -> float:
    """Seconds before the next try: longer each time, and as long as the storage asks for."""
    error = state.outcome and state.outcome.exception()
    return max(BACKOFF(state), error.retry_after if isinstance(error, StorageUnavailableError) else 0.0)


async def rest(lease: Lease, seconds: float) -> None:
    """Sleep, and no longer than there is reason to go on."""
    with suppress(TimeoutError):
        await asyncio.wait_for(lease.wait_stopped(), seconds)
