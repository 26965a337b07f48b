"""The last picture of a job, recorded with a count, completes it in the same statement."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from consumer.assets import Assets
from consumer.database import Database
from consumer.errors import LeaseLostError
from consumer.job import MEASURED, Job, Medium
from jobs import Hands, Jobs, Row, result, story
from steps import Open

ENDED, LEFT = (True, True), (True, False)
"""Recorded, and with it completed or not."""


def sent(jobs: Jobs, worker: Hands, count: int) -> Job:
    """A job in hand, which is like any other of so many pictures."""
    jobs.add(count=count, metadata={"prompt": "A harbour", "seed": 7})
    return worker.take()


def record(worker: Hands, job: Job, index: int, count: int | None = None, **metadata: Any) -> tuple[bool, bool]:
    """(recorded, completed)."""
    return worker.do(worker.assets.record(job, Medium.image, result(job, index, **metadata), count))


def own(jobs: Jobs, job_id: UUID, index: int = 0, **columns: Any) -> UUID:
    """A row of the application in the place of ours, or where there was none."""
    given = {"user_id": jobs.user, "job_id": job_id, "image_index": index, "title": "mine", **columns}
    return jobs.insert("images", given)


def assets(jobs: Jobs, job_id: UUID) -> list[Row]:
    return jobs.get(job_id)["metadata"]["assets"]


def urls(jobs: Jobs, job_id: UUID) -> list[str]:
    return [asset["url"].rpartition("/")[2] for asset in assets(jobs, job_id)]


# What it does, and when.


def test_the_last_picture_completes_the_job(jobs, worker):
    job = sent(jobs, worker, 3)
    jobs.set(job.id, error_message="The first attempt failed.")
    for index in (2, 0):
        assert record(worker, job, index) == LEFT
    worker.progress(job, 80, {1: 80})

    assert record(worker, job, 1, 3) == ENDED

    row, images, _ = jobs.rows(job.id)
    assert (row["status"], row["worker_id"], row["queue_at"], row["error_message"]) == ("completed", None, None, None)
    assert row["completed_at"] >= row["started_at"]
    assert (row["claim_id"], row["attempts"]) == (job.claim_id, 1)
    assert (row["image_id"], row["video_id"]) == (images[0]["id"], None)
    told = row["metadata"].pop("assets")
    assert row["metadata"] == {"prompt": "A harbour", "seed": 7, "num_images": 3, "progress": 100}
    assert [(asset["type"], asset["url"], asset["thumbnail_url"]) for asset in told] == [
        ("image", image["image_url"], image["thumbnail_url"]) for image in images
    ]
    assert [asset["metadata"]["asset_index"] for asset in told] == [0, 1, 2]
    assert [(image["status"], image["progress"]) for image in images] == [("completed", 100)] * 3


def test_without_a_count_nothing_is_completed(jobs, worker):
    job = sent(jobs, worker, 2)
    before = jobs.get(job.id)
    for index in (0, 1):
        assert record(worker, job, index) == LEFT
    assert jobs.get(job.id) == before
    assert [image["status"] for image in jobs.images(job.id)] == ["completed"] * 2


@pytest.mark.parametrize("state", ["queued", "processing", "failed", "cancelled"])
def test_with_a_picture_missing_the_last_one_is_recorded_and_the_job_goes_on(jobs, worker, state):
    job = sent(jobs, worker, 3)
    record(worker, job, 0)
    jobs.run("update public.images set status = %s where job_id = %s and image_index = 1", state, job.id)
    before = jobs.get(job.id)

    assert record(worker, job, 2, 3) == LEFT

    assert jobs.get(job.id) == before
    assert [image["status"] for image in jobs.images(job.id)] == ["completed", state, "completed"]
    assert worker.complete(job, 3) == (False, True)
    assert record(worker, job, 1, 3) == ENDED


def test_a_picture_that_its_owner_deleted_does_not_hold_up_the_others(jobs, worker):
    job = sent(jobs, worker, 2)
    jobs.run("delete from public.images where job_id = %s and image_index = 0", job.id)
    assert record(worker, job, 1, 2) == ENDED
    assert urls(jobs, job.id) == ["1.png"]
    assert jobs.get(job.id)["image_id"] == jobs.images(job.id)[0]["id"]


def test_a_last_picture_whose_row_is_gone_completes_nothing(jobs, worker):
    job = sent(jobs, worker, 2)
    record(worker, job, 0)
    jobs.run("delete from public.images where job_id = %s and image_index = 1", job.id)
    assert record(worker, job, 1, 2) == (False, False)
    assert jobs.get(job.id)["status"] == "processing"
    assert worker.complete(job, 2) == (True, True)


@pytest.mark.parametrize(("count", "orders"), [(1, [(0,)]), (4, [(0, 1, 2, 3), (3, 1, 0, 2), (1, 3, 2, 0)])])
@pytest.mark.parametrize("told", ["to the last", "to all"])
def test_pictures_of_one_moment_end_a_job_as_one_by_one_and_a_complete_do(jobs, worker, count, orders, told):
    job = sent(jobs, worker, count)
    for index in range(count):
        assert worker.record(job, index)
    assert worker.complete(job, count) == (True, True)
    expected = story(jobs, job)

    async def together(job: Job, order: tuple[int, ...]) -> list[tuple[bool, bool]]:
        counts = [count if told == "to all" or index == order[-1] else None for index in order]
        calls = zip(order, counts, strict=True)
        return await asyncio.gather(*(worker.assets.record(job, Medium.image, result(job, i), n) for i, n in calls))

    for order in orders:
        job = sent(jobs, worker, count)
        assert worker.do(together(job, order)) == [ENDED] * count
        assert story(jobs, job) == expected
        assert jobs.get(job.id)["image_id"] == jobs.images(job.id)[0]["id"]


def test_one_picture_that_is_recorded_twice_at_one_moment_is_recorded_once(jobs, worker):
    job = sent(jobs, worker, 1)

    async def twice() -> list[tuple[bool, bool]]:
        return await asyncio.gather(*(worker.assets.record(job, Medium.image, result(job), 1) for _ in range(2)))

    assert sorted(worker.do(twice())) == [(False, False), ENDED]
    assert urls(jobs, job.id) == ["0.png"]
    assert jobs.get(job.id)["status"] == "completed"


# Who may not, or does not know that it did.


class Deaf:
    """A database whose reply to the first statement is lost."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.lost: list[str] = []

    async def run(self, name: str, parameters: Any) -> list[Row]:
        rows = await self.database.run(name, parameters)
        if not self.lost:
            self.lost.append(name)
            raise psycopg.OperationalError("the connection is gone")
        return rows

    async def surely(self, name: str, parameters: Any) -> list[Row]:
        return await self.database.surely(name, parameters)


def test_a_last_picture_whose_reply_was_lost_is_found_recorded_and_the_job_completed(jobs, worker, database):
    job = sent(jobs, worker, 2)
    record(worker, job, 0)
    deaf = Deaf(database)

    ends = worker.do(Assets(deaf).record(job, Medium.image, result(job, 1), 2))

    assert (deaf.lost, ends) == (["record_images"], (False, False))
    before = jobs.rows(job.id)
    assert before[0]["status"] == "completed"
    assert worker.complete(job, 2)[0] is True
    assert jobs.rows(job.id) == before


def test_a_last_picture_that_is_recorded_again_changes_nothing(jobs, worker):
    job = sent(jobs, worker, 2)
    record(worker, job, 0)
    record(worker, job, 1, 2)
    before = jobs.rows(job.id)
    for index in (1, 0):
        assert record(worker, job, index, 2, steps=99) == (False, False)
    assert worker.complete(job, 2)[0] is True
    assert jobs.rows(job.id) == before


def test_into_a_job_that_its_last_picture_has_completed_nothing_is_written(jobs, worker):
    job = sent(jobs, worker, 2)
    record(worker, job, 0)
    record(worker, job, 1, 2)
    jobs.run("update public.images set status = 'queued' where job_id = %s and image_index = 1", job.id)
    before = jobs.rows(job.id)
    for count in (2, None):
        assert record(worker, job, 1, count, steps=99) == (False, False)
    assert jobs.rows(job.id) == before


def released(jobs: Jobs, worker: Hands, job: Job) -> None:
    assert worker.release(job)


def claimed_again(jobs: Jobs, worker: Hands, job: Job) -> None:
    released(jobs, worker, job)
    assert worker.take().id == job.id


def completed_by_another_claim(jobs: Jobs, worker: Hands, job: Job) -> None:
    released(jobs, worker, job)
    assert record(worker, worker.take(), 1, 2) == ENDED


def cancelled(jobs: Jobs, worker: Hands, job: Job) -> None:
    assert jobs.value("select public.cancel_job(%s)", job.id) == "cancelled"


def failed(jobs: Jobs, worker: Hands, job: Job) -> None:
    assert worker.fail(job)


LOST = [released, claimed_again, completed_by_another_claim, cancelled, failed]


@pytest.mark.parametrize("lose", LOST, ids=lambda lose: lose.__name__)
def test_who_no_longer_holds_the_job_is_told_so_and_changes_nothing(jobs, worker, lose):
    job = sent(jobs, worker, 2)
    record(worker, job, 0)
    lose(jobs, worker, job)
    before = jobs.rows(job.id)
    for count in (2, None):
        with pytest.raises(LeaseLostError):
            record(worker, job, 1, count)
    assert jobs.rows(job.id) == before
    assert worker.complete(job, 2) == (False, False)
    assert jobs.rows(job.id) == before


def test_who_works_on_a_job_that_was_deleted_is_told_so(jobs, worker):
    job = sent(jobs, worker, 2)
    record(worker, job, 0)
    jobs.run("delete from public.jobs where id = %s", job.id)
    with pytest.raises(LeaseLostError):
        record(worker, job, 1, 2)


# Job types that are not only of pictures.


@pytest.fixture
def novel(jobs: Jobs) -> Iterator[Callable[[str], None]]:
    """A job type of two pictures, of which a test may change what it makes."""
    jobs.run("insert into consumer.job_types values ('novel', 'novel', 'image', 2, 2, 1)")
    yield lambda change: jobs.run(f"{change} where job_type = 'novel'")
    jobs.run("delete from consumer.job_types where job_type = 'novel'")


def test_a_job_whose_type_is_gone_by_now_is_left_to_complete_job(jobs, worker, novel):
    job_id = jobs.add("novel", 2)
    job = worker.take("novel")
    record(worker, job, 0)
    novel("delete from consumer.job_types")

    assert record(worker, job, 1, 2) == LEFT

    assert jobs.get(job_id)["status"] == "processing"
    assert [image["status"] for image in jobs.images(job_id)] == ["completed"] * 2
    assert worker.complete(job, 2) == (True, True)
    assert urls(jobs, job_id) == ["0.png", "1.png"]


def test_a_job_whose_type_makes_videos_by_now_is_left_to_complete_job(jobs, worker, novel):
    job_id = jobs.add("novel", 2)
    job = worker.take("novel")
    record(worker, job, 0)
    novel("update consumer.job_types set medium = 'video'")
    video = jobs.insert("videos", {"user_id": jobs.user, "job_id": job_id, "image_index": 0, "video_url": "0.mp4"})

    assert record(worker, job, 1, 2) == LEFT
    assert worker.complete(job, 2) == (False, True)

    jobs.run("update public.videos set status = 'completed' where id = %s", video)
    assert worker.complete(job, 2) == (True, True)
    row = jobs.get(job_id)
    assert (urls(jobs, job_id), row["image_id"], row["video_id"]) == (["0.mp4"], None, video)


def test_an_applications_video_beside_a_picture_is_no_asset_of_the_job(jobs, worker):
    job = sent(jobs, worker, 1)
    jobs.insert("videos", {"user_id": jobs.user, "job_id": job.id, "image_index": 0, "status": "queued"})
    assert record(worker, job, 0, 1) == ENDED
    assert urls(jobs, job.id) == ["0.png"]
    assert jobs.get(job.id)["video_id"] is None


# Rows of the application.


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)], ids=str)
def test_an_applications_own_row_as_the_first_picture_is_the_one_that_the_job_names(jobs, worker, order):
    job_id = jobs.add(count=3)
    mine = own(jobs, job_id)
    job = worker.take()
    *others, last = order
    for index in others:
        assert record(worker, job, index) == LEFT
    assert record(worker, job, last, 3) == ENDED

    row, images, _ = jobs.rows(job_id)
    assert row["image_id"] == images[0]["id"] == mine
    assert [(image["managed"], image["title"], image["status"]) for image in images] == [
        (False, "mine", "completed"), (True, None, "completed"), (True, None, "completed"),
    ]  # fmt: skip
    assert urls(jobs, job_id) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("metadata", ["[1, 2]", '"a string"', "null", "7"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
def test_metadata_that_is_no_object_in_an_applications_row_holds_nothing_up(jobs, worker, order, metadata):
    job_id = jobs.add(count=2)
    job = worker.take()
    first, last = order
    if first == 0:
        # It is already completed, by the application's own hands.
        own(jobs, job_id, 0, image_url="own/0.png")
        done = "update public.images set status = 'completed', metadata = %s::jsonb where job_id = %s and not managed"
        jobs.run(done, metadata, job_id)
    else:
        record(worker, job, first)
        jobs.run("update public.images set metadata = %s::jsonb where job_id = %s and managed", metadata, job_id)

    assert record(worker, job, last, 2) == ENDED

    told = assets(jobs, job_id)
    assert urls(jobs, job_id) == ["0.png", "1.png"]
    assert told[last]["metadata"]["width"] == 512
    assert first or not told[0]["metadata"]


def test_a_job_that_points_to_its_first_picture_already_points_there_still(jobs, worker):
    mine = jobs.insert("images", {"user_id": jobs.user})
    job_id = jobs.add(count=2, image_id=mine)
    job = worker.take()
    record(worker, job, 0)
    assert record(worker, job, 1, 2) == ENDED
    assert jobs.get(job_id)["image_id"] == mine


def held(application: Open, mine: UUID) -> Any:
    return application.sql("select from public.images where id = %s for update", mine)


def changed(application: Open, mine: UUID) -> Any:
    return application.sql("update public.images set title = 'changed' where id = %s", mine)


def gone(application: Open, mine: UUID) -> Any:
    return application.sql("delete from public.images where id = %s", mine)


@pytest.mark.parametrize("grip", [held, gone], ids=["held", "deleted"])
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_first_picture_in_the_hands_of_the_application_is_left_to_complete_job(jobs, worker, begin, grip, ending):
    job_id = jobs.add(count=2)
    mine = own(jobs, job_id)
    job, other = worker.take(), sent(jobs, worker, 1)
    record(worker, job, 0)
    application, completing = begin(worker), begin(worker, autocommit=True)
    application.do(grip(application, mine))

    async def both() -> list[tuple[bool, bool]]:
        calls = [worker.assets.record(job, Medium.image, result(job, 1), 2)]
        calls.append(worker.assets.record(other, Medium.image, result(other), 1))
        return await asyncio.wait_for(asyncio.gather(*calls), 20)

    assert worker.do(both()) == [LEFT, ENDED], "nobody waits for the application"
    assert jobs.get(job_id)["status"] == "processing"

    completion = completing.start(completing.queue.complete_job(job, 2), behind=application)
    getattr(application, ending)()

    assert completing.end(completion) == (True, True)
    row, images, _ = jobs.rows(job_id)
    left = ["0.png", "1.png"] if grip is held or ending == "rollback" else ["1.png"]
    assert (row["status"], urls(jobs, job_id)) == ("completed", left)
    assert row["image_id"] == images[0]["id"]
    assert (images[0]["id"] == mine) == (len(left) == 2)


def test_a_first_picture_that_the_application_is_writing_into_holds_up_nobody(jobs, worker, begin):
    """Such a lock leaves room for a foreign key."""
    job_id = jobs.add(count=2)
    mine = own(jobs, job_id)
    job = worker.take()
    record(worker, job, 0)
    application = begin(worker)
    application.do(changed(application, mine))
    assert record(worker, job, 1, 2) == ENDED
    application.commit()
    assert jobs.get(job_id)["image_id"] == mine
    assert jobs.images(job_id)[0]["title"] == "changed"


@pytest.mark.parametrize("index", [0, 1])
def test_a_picture_that_the_application_replaces_meanwhile_is_the_one_that_the_job_names(jobs, worker, begin, index):
    job_id = jobs.add(count=2)
    job = worker.take()
    record(worker, job, 0)
    application, recording = begin(worker), begin(worker, autocommit=True)
    insert = "insert into public.images (user_id, job_id, image_index) values (%s, %s, %s) returning id"
    [(mine,)] = application.do(application.sql(insert, jobs.user, job_id, index))

    late = recording.start(recording.assets.record(job, Medium.image, result(job, 1), 2), behind=application)
    application.commit()

    assert recording.end(late) == LEFT
    assert worker.complete(job, 2) == (True, True)
    row, images, _ = jobs.rows(job_id)
    assert [image["id"] for image in images][index] == mine
    assert row["image_id"] == images[0]["id"]
    assert [(image["status"], image["seed"]) for image in images] == [("completed", 7), ("completed", 8)]
    assert urls(jobs, job_id) == ["0.png", "1.png"]


# Rows beyond the count.


def test_a_row_of_ours_beyond_the_count_must_be_there_as_well(jobs, worker):
    job = sent(jobs, worker, 3)
    record(worker, job, 0)
    assert record(worker, job, 1, 2) == LEFT
    assert worker.complete(job, 2) == (False, True)
    assert record(worker, job, 2, 2) == ENDED
    assert urls(jobs, job.id) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("status", ["queued", "completed", "failed"])
@pytest.mark.parametrize("index", [1, 5, -3])
def test_a_row_of_the_application_beyond_the_count_neither_holds_it_up_nor_shows(jobs, worker, index, status):
    job_id = jobs.add()
    beyond = own(jobs, job_id, index, status=status)
    job = worker.take()
    assert record(worker, job, 0, 1) == ENDED
    assert urls(jobs, job_id) == ["0.png"]
    [before] = jobs.run("select * from public.images where id = %s", beyond)
    assert (before["status"], before["image_url"]) == (status, None)


def test_a_row_of_the_application_without_an_index_neither_holds_it_up_nor_shows(jobs, worker):
    job_id = jobs.add()
    own(jobs, job_id, index=None, status="queued")
    job = worker.take()
    assert record(worker, job, 0, 1) == ENDED
    assert urls(jobs, job_id) == ["0.png"]


# What is told of an asset.


def test_what_is_not_measured_stays_in_the_pictures_own_row(jobs, worker):
    job_id = jobs.add(count=3)
    jobs.run("""update public.images set metadata = '{"album": "summer"}' where image_index = 1""")
    job = worker.take()
    odd = {0: {"odd": [1, {"steps": 3}], "steps": 8}, 1: {"Width": 1, "model": None}, 2: {"": "nothing", "fps": 5}}

    async def together() -> list[tuple[bool, bool]]:
        calls = [(1, None), (2, 3)]
        return await asyncio.gather(
            *(worker.assets.record(job, Medium.image, result(job, i, **odd[i]), count) for i, count in calls)
        )

    assert record(worker, job, 0, **odd[0]) == LEFT
    assert worker.do(together()) == [ENDED] * 2

    told = [asset["metadata"] for asset in assets(jobs, job_id)]
    images = [image["metadata"] for image in jobs.images(job_id)]
    full = [result(job, index, **odd[index]).metadata for index in range(3)]
    assert images == [full[0], {"album": "summer"} | full[1], full[2]]
    assert told == [{name: value for name, value in sent.items() if name in MEASURED} for sent in full]
    assert (told[0]["steps"], told[1]["model"], told[2]["fps"]) == (8, None, 5)
    assert not [name for metadata in told for name in ("bucket", "odd", "Width", "", "album") if name in metadata]


@pytest.mark.parametrize("name", MEASURED)
def test_every_measured_field_is_told(jobs, worker, name):
    job = sent(jobs, worker, 1)
    assert record(worker, job, 0, 1, **{name: 1234}) == ENDED
    [asset] = assets(jobs, job.id)
    assert asset["metadata"][name] == 1234


@pytest.mark.parametrize("metadata", [{"steps": 99, "album": 3}, {"fps": 24}, {}, ["no object"]], ids=str)
def test_what_an_application_put_into_its_row_is_told_as_complete_job_tells_it(jobs, worker, metadata):
    told = []
    for count in (None, 1):
        job = sent(jobs, worker, 1)
        own(jobs, job.id, metadata=Jsonb(metadata))
        assert record(worker, job, 0, count, scheduler="euler") == (True, count is not None)
        assert worker.complete(job)[0]
        told.append(assets(jobs, job.id)[0]["metadata"])
    assert told[0] == told[1]
    assert told[0]["scheduler"] == "euler"
    assert told[0].get("steps") == (99 if "steps" in metadata else None)
    assert "album" not in told[0]


def test_a_result_of_which_nothing_is_measured_is_told_as_complete_job_tells_it(jobs, worker):
    told = []
    for count in (None, 1):
        job = sent(jobs, worker, 1)
        bare = replace(result(job, 0), metadata={"bucket": "workspace-temp"})
        assert worker.do(worker.assets.record(job, Medium.image, bare, count)) == (True, count is not None)
        assert worker.complete(job)[0]
        told.append(assets(jobs, job.id)[0]["metadata"])
    assert told == [None, None]


@pytest.fixture
def nullable(jobs: Jobs) -> Iterator[None]:
    """As on a database that had a table of images before."""
    jobs.run("alter table public.images alter status drop not null")
    yield
    jobs.run("update public.images set status = 'queued' where status is null")
    jobs.run("alter table public.images alter status set not null")


@pytest.mark.usefixtures("nullable")
@pytest.mark.parametrize("count", [None, 2])
def test_a_picture_without_a_status_is_missing(jobs, worker, count):
    job = sent(jobs, worker, 2)
    jobs.run("update public.images set status = null where job_id = %s and image_index = 0", job.id)
    assert record(worker, job, 1, count) == (True, False)
    assert worker.complete(job, 2) == (False, True)
    assert record(worker, job, 0, count) == (True, count is not None)
    assert worker.complete(job, 2)[0]


@pytest.mark.parametrize("table", ["jobs", "images"])
def test_a_table_that_inherits_from_ours_keeps_what_it_has(jobs, worker, table):
    """An application may archive so; where a row stands in one table, another one stands in the other."""
    jobs.run(f"create table public.archive () inherits (public.{table})")
    try:
        jobs.add()
        job = worker.take()
        jobs.run(f"insert into public.archive select o.* from only public.{table} o, generate_series(1, 40)")
        other = ", job_id = null" if table == "images" else ""
        jobs.run(f"update public.archive set id = gen_random_uuid(), status = 'failed'{other}")
        jobs.run("vacuum full public.archive")
        before = jobs.run("select * from public.archive")
        assert worker.do(worker.assets.record(job, Medium.image, result(job), 1)) == (True, True)
        assert jobs.run("select * from public.archive") == before
    finally:
        jobs.run("drop table public.archive")
