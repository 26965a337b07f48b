"""How long an upload is tried again, and what ends it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from bucket_clients import opened
from consumer.delivery import Delivery
from consumer.encode import Encoded
from consumer.errors import (
    JobCancelledError,
    StorageAwayError,
    StorageRefusedError,
    StorageUnavailableError,
    StorageUnusableError,
)
from consumer.job import Job
from consumer.lease import Lease, Trust
from stand_in import BUCKET, StorageServer, faults
from stand_in.wire import Request
from workers import eventually

KEY = "3f0c/9a1b/0.png"
PICTURE = Encoded(b"pixels", "image/png", "png", 8, 8, "RGB")
VIDEO = Encoded(os.urandom(13 * 1024 * 1024), "video/mp4", "mp4", 8, 8, "yuv420p")
JOB = Job(uuid4(), uuid4(), "sketch", "sketch", 1, 1, 3, {})


class Courier:
    """The delivery of one worker, a lease on one job, and how far the worker trusts that it holds it."""

    def __init__(self, storage, upload_seconds: float, lease_seconds: float) -> None:
        self.trust = Trust(lease_seconds, upload_seconds)
        self.lease = Lease(JOB)
        self.delivery = Delivery(None, storage, self.trust, upload_seconds)  # type: ignore[arg-type]

    async def upload(self, encoded: Encoded = PICTURE) -> None:
        await self.delivery.upload(self.lease, KEY, encoded)


@asynccontextmanager
async def courier(api: StorageServer, upload_seconds: float = 2, lease_seconds: float = 60) -> AsyncIterator[Courier]:
    async with opened(api.url, seconds=30) as storage:
        at_work = Courier(storage, upload_seconds, lease_seconds)
        try:
            yield at_work
        finally:
            at_work.delivery.close()


def uploads(api: StorageServer) -> list[Request]:
    """The uploads that began, without questions about the bucket."""
    return api.seen("POST", f"/object/{BUCKET}/")


def delivered(api: StorageServer, encoded: Encoded = PICTURE, **options: float) -> float:
    """Deliver one file; the seconds that took."""

    async def main() -> None:
        async with courier(api, **options) as at_work:
            await at_work.upload(encoded)

    started = time.monotonic()
    asyncio.run(main())
    return time.monotonic() - started


def test_what_can_pass_is_tried_again_until_it_has(api: StorageServer) -> None:
    for fault in (
        faults.html(502), faults.too_many("0"), faults.api_error("423"), faults.api_error("544"), faults.html(200),
        faults.drop(50), faults.lost_reply,
    ):  # fmt: skip
        api.fail(fault, path=f"/object/workspace-temp/{KEY}")
    delivered(api, upload_seconds=20)
    assert len(api.seen("POST", f"/object/workspace-temp/{KEY}")) == 8
    assert api.stored(KEY).data == PICTURE.data


@pytest.mark.parametrize(
    ("status", "kind"), [("400", StorageRefusedError), ("413", StorageRefusedError), ("403", StorageUnusableError)]
)
def test_what_cannot_pass_is_not_tried_again(api: StorageServer, status: str, kind: type[Exception]) -> None:
    api.fail(faults.api_error(status), times=9)
    with pytest.raises(kind):
        delivered(api)
    assert len(api.requests) == 1


def test_as_long_as_the_storage_asks_for_is_waited(api: StorageServer) -> None:
    api.fail(faults.too_many("1"), times=2)
    delivered(api)
    first, second, third = (request.at for request in api.requests)
    assert 1 <= second - first < 2
    assert 1 <= third - second < 2


def test_a_storage_that_asks_for_more_time_than_there_is_ends_it_at_once(api: StorageServer) -> None:
    api.fail(faults.too_many("3600"))
    with pytest.raises(StorageUnavailableError, match=r"workspace-temp is not available \(429\)\.$"):
        delivered(api)
    assert len(uploads(api)) == 1


def test_a_storage_that_stays_away_is_given_six_times_the_time_of_an_upload(api: StorageServer) -> None:
    api.fail(faults.too_many("1"), times=1000)
    with pytest.raises(StorageAwayError, match=r"workspace-temp is not available \(429\)\.$"):
        delivered(api, upload_seconds=0.5)
    assert len(uploads(api)) == 3, "after 0, 1 and 2 seconds, and a fourth would come after 3"


def test_a_storage_that_takes_all_but_these_bytes_is_not_away(api: StorageServer) -> None:
    api.fail(faults.html(503), times=1000, path=f"/object/{BUCKET}/")
    with pytest.raises(StorageUnavailableError, match=r"workspace-temp is not available \(503\)\.$"):
        delivered(api, upload_seconds=0.2)


def test_one_try_ends_in_time_and_its_transfer_with_it(api: StorageServer) -> None:
    api.fail(faults.hang)
    delivered(api, upload_seconds=0.5)
    first, second = api.requests
    assert 0.5 <= second.at - first.at < 2
    eventually(lambda: first.ended_early, "the connection ends")


def test_a_large_file_has_time_for_each_part(api: StorageServer) -> None:
    api.fail(faults.hang, times=99)
    with pytest.raises(StorageAwayError, match=r"longer than 0\.6 seconds"):
        delivered(api, VIDEO, upload_seconds=0.2)
    assert 4 <= len(api.seen("POST", "resumable")) <= 6


def test_a_large_file_goes_on_where_it_broke_off(api: StorageServer) -> None:
    api.fail(faults.drop(1_000_000), method="PATCH", skip=1)
    api.fail(faults.html(503), method="HEAD")
    delivered(api, VIDEO)
    assert api.stored(KEY).data == VIDEO.data
    assert sum(request.received for request in api.seen("PATCH")) == len(VIDEO.data)


def test_without_trust_an_upload_ends_and_goes_on_with_it_and_the_wait_does_not_count(api: StorageServer) -> None:
    api.fail(faults.hang)
    api.fail(faults.html(503), times=2)

    async def main() -> None:
        # Six times 0.3 seconds are over before there is trust again.
        async with courier(api, upload_seconds=0.3, lease_seconds=0.4) as at_work:
            upload = asyncio.create_task(at_work.upload())
            await asyncio.to_thread(eventually, lambda: api.requests and api.requests[0].ended_early, "it ended")
            await asyncio.wait({upload}, timeout=2)
            assert not upload.done()
            assert len(api.requests) == 1, "nothing begins without trust"
            at_work.trust.confirm(time.monotonic() + 60)
            await upload

    asyncio.run(main())
    assert api.stored(KEY).data == PICTURE.data
    assert len(api.requests) == 4


def test_whoever_waits_for_the_storage_hears_of_a_cancel(api: StorageServer) -> None:
    api.fail(faults.too_many("30"))

    async def main() -> None:
        async with courier(api, upload_seconds=20) as at_work:
            upload = asyncio.create_task(at_work.upload())
            await asyncio.to_thread(eventually, lambda: api.requests and api.requests[0].status, "it was refused")
            at_work.lease.stop(JobCancelledError("This job was cancelled."))
            with pytest.raises(JobCancelledError):
                await asyncio.wait_for(upload, 5)

    asyncio.run(main())
    assert len(api.requests) == 1
