"""Delivery lets the last picture to be stored complete its job, in a real database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from consumer.assets import Assets, Result
from consumer.database import Database as Pool
from consumer.delivery import Delivery
from consumer.engines.base import Output
from consumer.errors import LeaseLostError, StorageRefusedError
from consumer.job import Job, Medium
from consumer.lease import Lease, Trust
from consumer.queue import Queue
from consumer.storage.local import LocalStorage
from jobs import Jobs, result
from postgres import Database
from workers import eventually


class Doors(LocalStorage):
    """A folder with a door before each picture; all are open but those that a test closes, and some are walls."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "workspace-temp")
        self.closed: dict[str, asyncio.Event] = {}
        self.walls: set[str] = set()

    async def upload(self, key: str, data: bytes, content_type: str) -> None:
        name = key.rpartition("/")[2]
        if name in self.closed:
            await self.closed[name].wait()
        if name in self.walls:
            raise StorageRefusedError("The storage refused this picture.")
        await super().upload(key, data, content_type)

    def close(self, name: str) -> None:
        self.closed[name] = asyncio.Event()

    def open(self, name: str) -> None:
        self.closed.pop(name).set()


@pytest.fixture
def jobs(db: Database) -> Jobs:
    return Jobs(db)


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(tmp_path)


class Counting(Assets):
    """Notes which count came with each picture."""

    def __init__(self, database: Pool) -> None:
        super().__init__(database)
        self.counts: dict[int, int | None] = {}

    async def record(self, job: Job, medium: Medium, result: Result, count: int | None = None) -> tuple[bool, bool]:
        self.counts[result.index] = count
        return await super().record(job, medium, result, count)


class Site:
    """One worker's delivery, and a job in its hands."""

    def __init__(self, queue: Queue, delivery: Delivery, jobs: Jobs, job: Job, counts: dict[int, int | None]) -> None:
        self.queue, self.delivery, self.jobs, self.job, self.counts = queue, delivery, jobs, job, counts
        self.lease = Lease(job)

    async def put(self, *indexes: int) -> None:
        for index in indexes:
            pixels = np.full((16, 24, 3), 10 * index, np.uint8)
            await self.delivery.put(self.lease, Medium.image, Output(index, 7 + index, pixels, None, {"steps": 8}))

    async def told(self, *statuses: str) -> None:
        """Wait until the pictures are as told."""
        as_told = lambda: [image["status"] for image in self.jobs.images(self.job.id)] == list(statuses)  # noqa: E731
        await asyncio.to_thread(eventually, as_told, f"the pictures are {statuses}")

    def status(self) -> str:
        return self.jobs.get(self.job.id)["status"]


@asynccontextmanager
async def site(
    db: Database, jobs: Jobs, storage: LocalStorage, count: int, done: Sequence[int] = ()
) -> AsyncIterator[Site]:
    """With a job of `count` pictures, of which some are recorded already."""
    jobs.add(count=count)
    pool = Pool(db.dsn)
    await pool.open()
    assets, queue = Counting(pool), Queue(pool, uuid4())
    delivery = Delivery(assets, storage, Trust(60, 5), 5)
    try:
        [job] = await queue.claim_jobs(["sketch"])
        for index in done:
            await assets.record(job, Medium.image, result(job, index))
        yield Site(queue, delivery, jobs, job, assets.counts)
    finally:
        delivery.close()
        await pool.close()


@pytest.mark.parametrize("late", [0, 1, 2])
def test_the_picture_that_is_stored_last_completes_its_job(db: Database, jobs: Jobs, doors: Doors, late: int) -> None:
    async def main() -> None:
        async with site(db, jobs, doors, 3) as at:
            doors.close(f"{late}.png")
            await at.put(0, 1, 2)
            finish = asyncio.create_task(at.delivery.finish(at.lease, 3))
            await at.told(*("queued" if index == late else "completed" for index in range(3)))
            assert (at.status(), finish.done()) == ("processing", False)
            doors.open(f"{late}.png")
            assert await finish is True
            assert at.counts == {index: 3 if index == late else None for index in range(3)}
            row, images, _ = jobs.rows(at.job.id)
            assert (row["status"], row["worker_id"], row["image_id"]) == ("completed", None, images[0]["id"])
            told = row["metadata"]["assets"]
            assert [asset["url"] for asset in told] == [image["image_url"] for image in images]
            assert [asset["metadata"]["asset_index"] for asset in told] == [0, 1, 2]
            assert all(doors.path(asset["thumbnail_url"]).is_file() for asset in told)

    asyncio.run(main())


def test_all_pictures_together_complete_their_job_or_leave_that_to_complete_job(
    db: Database, jobs: Jobs, doors: Doors
) -> None:
    async def main() -> None:
        async with site(db, jobs, doors, 4) as at:
            await at.put(3, 0, 2, 1)
            completed = await at.delivery.finish(at.lease, 4)
            assert at.status() == ("completed" if completed else "processing")
            assert [image["status"] for image in jobs.images(at.job.id)] == ["completed"] * 4
            completed_now, _ = await at.queue.complete_job(at.job, 4)
            assert (completed_now, at.status()) == (True, "completed")

    asyncio.run(main())


def test_nothing_is_completed_while_more_may_come(db: Database, jobs: Jobs, doors: Doors) -> None:
    async def main() -> None:
        async with site(db, jobs, doors, 2) as at:
            await at.put(0)
            await at.told("completed", "queued")
            await at.put(1)
            await at.told("completed", "completed")
            assert at.status() == "processing"
            assert await at.delivery.finish(at.lease, 2) is False
            assert at.status() == "processing"
            assert await at.queue.complete_job(at.job, 2) == (True, True)

    asyncio.run(main())


def test_the_rest_of_a_job_completes_it_and_names_what_was_there(db: Database, jobs: Jobs, doors: Doors) -> None:
    async def main() -> None:
        async with site(db, jobs, doors, 3, done=[0, 2]) as at:
            doors.close("1.png")
            await at.put(1)
            finish = asyncio.create_task(at.delivery.finish(at.lease, 3))
            await asyncio.sleep(0)
            doors.open("1.png")
            assert await finish is True
            row, images, _ = jobs.rows(at.job.id)
            assert (row["status"], row["image_id"]) == ("completed", images[0]["id"])
            assert [asset["metadata"]["asset_index"] for asset in row["metadata"]["assets"]] == [0, 1, 2]

    asyncio.run(main())


def test_a_job_of_which_nothing_is_left_to_deliver_is_left_to_complete_job(
    db: Database, jobs: Jobs, doors: Doors
) -> None:
    async def main() -> None:
        async with site(db, jobs, doors, 1, done=[0]) as at:
            assert await at.delivery.finish(at.lease, 1) is False
            assert at.status() == "processing"
            assert await at.queue.complete_job(at.job, 1) == (True, True)

    asyncio.run(main())


@pytest.mark.parametrize("refused", ["0.png", "0.thumb.webp", "2.png"])
def test_a_picture_that_could_not_be_stored_leaves_the_job_open(
    db: Database, jobs: Jobs, doors: Doors, refused: str
) -> None:
    async def main() -> None:
        async with site(db, jobs, doors, 3) as at:
            doors.walls.add(refused)
            doors.close("1.png")
            await at.put(0, 1, 2)
            finish = asyncio.create_task(at.delivery.finish(at.lease, 3))
            expected = ["queued" if refused.startswith(str(index)) else "completed" for index in range(3)]
            await at.told(*(status if index != 1 else "queued" for index, status in enumerate(expected)))
            doors.open("1.png")
            with pytest.raises(StorageRefusedError):
                await finish
            assert [image["status"] for image in jobs.images(at.job.id)] == expected
            assert set(at.counts.values()) == {None}
            assert at.status() == "processing"
            await at.delivery.settle(at.lease, at_once=False)

    asyncio.run(main())


def test_a_job_that_was_lost_meanwhile_is_not_completed(db: Database, jobs: Jobs, doors: Doors) -> None:
    async def main() -> None:
        async with site(db, jobs, doors, 1) as at:
            doors.close("0.png")
            await at.put(0)
            finish = asyncio.create_task(at.delivery.finish(at.lease, 1))
            assert await at.queue.release_job(at.job.id, at.job.claim_id)
            before = jobs.rows(at.job.id)
            doors.open("0.png")
            with pytest.raises(LeaseLostError):
                await finish
            assert jobs.rows(at.job.id) == before
            await at.delivery.settle(at.lease, at_once=False)

    asyncio.run(main())
