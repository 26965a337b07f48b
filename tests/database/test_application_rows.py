"""The application's own rows win over ours, whenever they come, and keep what ours already held."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from consumer.job import Job, Medium
from jobs import Hands, Jobs
from postgres import Database

Key = tuple[int | None, UUID]
LATE_FIRST = (2, 0, 1)
"""An order in which an application may send its three rows."""


def keys(jobs: Jobs, job_id: UUID) -> list[Key]:
    """(image_index, id) of every image row of the job."""
    return [(row["image_index"], row["id"]) for row in jobs.images(job_id)]


def send(jobs: Jobs, job_id: UUID, indexes: tuple[int, ...] = LATE_FIRST, **columns: Any) -> list[Key]:
    """Insert the application's images of a job in one statement; returns what `keys` shall be."""
    rows = [(index, uuid4()) for index in indexes]
    names = "".join(f", {name}" for name in columns)
    values = "".join(", %s" for _ in columns)
    statement = f"insert into public.images (id, user_id, job_id, image_index, title{names}) values " + ", ".join(
        f"(%s, %s, %s, %s, 'mine'{values})" for _ in rows
    )
    jobs.run(statement, *(v for index, key in rows for v in (key, jobs.user, job_id, index, *columns.values())))
    return sorted(rows)


def loose(jobs: Jobs, count: int = 3, **columns: Any) -> list[UUID]:
    """Images of the application that belong to no job yet."""
    return [jobs.insert("images", {"user_id": jobs.user, "title": "mine", **columns}) for _ in range(count)]


def finish(worker: Hands, job: Job, *done: int) -> None:
    """Make what is left of a job of three images, and complete it."""
    for index in range(3):
        assert worker.record(job, index) == (index not in done)
    assert worker.complete(job, 3) == (True, True)


def assert_finished(jobs: Jobs, job_id: UUID, expected: list[Key]) -> None:
    """The application's rows, and they alone, hold the three pictures, and the job points to the first of them."""
    job, images, _ = jobs.rows(job_id)
    assert [(row["image_index"], row["id"]) for row in images] == expected
    assert (job["status"], job["image_id"]) == ("completed", expected[0][1])
    for row in images:
        index = row["image_index"]
        assert (row["status"], row["seed"], row["file_size"]) == ("completed", 7 + index, 1000 + index)
        assert row["image_url"] == f"{jobs.user}/{job_id}/{index}.png"
        assert row["thumbnail_url"] == f"{jobs.user}/{job_id}/{index}.thumb.webp"
        assert row["metadata"]["width"] == 512
        assert (row["title"], row["managed"]) == ("mine", False)


def link(jobs: Jobs, rule: str) -> None:
    """Decide what deleting a result does to its job."""
    for medium in ("image", "video"):
        jobs.run(
            f"alter table public.jobs drop constraint jobs_{medium}_id_fkey, add constraint jobs_{medium}_id_fkey"
            f" foreign key ({medium}_id) references public.{medium}s (id) on delete {rule}"
        )


@pytest.fixture(params=["set null", "cascade"])
def rule(request: pytest.FixtureRequest, jobs: Jobs) -> Iterator[str]:
    """What deleting a result does to its job: nothing on a new database, and the worst on the platform's."""
    link(jobs, request.param)
    yield request.param
    link(jobs, "set null")


# The job first, then its rows.


@pytest.mark.parametrize("state", ["queued", "claimed", "one recorded", "all recorded", "completed"])
def test_rows_that_come_after_their_job_replace_ours(jobs: Jobs, worker: Hands, rule: str, state: str) -> None:
    job_id = jobs.add(count=3)
    done = {"one recorded": (1,), "all recorded": (0, 1, 2)}.get(state, ())
    if state != "queued":
        job = worker.take()
        for index in done:
            worker.record(job, index)
    if state == "completed":
        finish(worker, job)
    expected = send(jobs, job_id)
    if state == "queued":
        job = worker.take()
    if state != "completed":
        finish(worker, job, *done)
    assert_finished(jobs, job_id, expected)


@pytest.mark.parametrize("state", ["queued", "claimed", "completed"])
def test_rows_that_are_linked_after_their_job_replace_ours(jobs: Jobs, worker: Hands, rule: str, state: str) -> None:
    ids, job_id = loose(jobs), jobs.add(count=3)
    if state != "queued":
        job = worker.take()
    if state == "completed":
        finish(worker, job)
    for index in LATE_FIRST:
        jobs.run("update public.images set job_id = %s, image_index = %s where id = %s", job_id, index, ids[index])
    if state == "queued":
        job = worker.take()
    if state != "completed":
        finish(worker, job)
    assert_finished(jobs, job_id, list(enumerate(ids)))


def test_rows_with_a_job_and_no_index_stand_beside_ours_until_they_get_one(jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add(count=3)
    ours = keys(jobs, job_id)
    ids = loose(jobs, job_id=job_id)
    assert keys(jobs, job_id) == [*ours, *((None, key) for key in ids)]
    job = worker.take()
    worker.record(job, 0)
    for index in LATE_FIRST:
        jobs.run("update public.images set image_index = %s where id = %s", index, ids[index])
    finish(worker, job, 0)
    assert_finished(jobs, job_id, list(enumerate(ids)))


def test_rows_with_a_job_and_no_index_are_taken_up_by_the_claim(jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add(count=3)
    ids = loose(jobs, job_id=job_id)
    job = worker.take()
    assert worker.do(worker.assets.pending(job, Medium.image, 3)) == [0, 1, 2]
    finish(worker, job)
    assert_finished(jobs, job_id, list(enumerate(ids)))


def test_one_row_of_the_application_replaces_one_of_ours(jobs: Jobs) -> None:
    job_id = jobs.add(count=3)
    ours = keys(jobs, job_id)
    [mine] = send(jobs, job_id, (1,))
    assert keys(jobs, job_id) == [ours[0], mine, ours[2]]


def test_what_the_application_wrote_stays_and_what_ours_held_is_added(jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add()
    job = worker.take()
    worker.progress(job, 40, {0: 40})
    [(_, key)] = send(jobs, job_id, (0,), prompt="My words", metadata=Jsonb({"album": "summer"}), status="queued")
    [row] = jobs.images(job_id)
    assert (row["id"], row["prompt"], row["status"], row["progress"]) == (key, "My words", "processing", 40)
    worker.record(job)
    [row] = jobs.images(job_id)
    assert (row["metadata"]["album"], row["metadata"]["width"]) == ("summer", 512)


def test_a_video_of_the_application_replaces_ours_and_keeps_what_it_held(jobs: Jobs, worker: Hands, rule: str) -> None:
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.record(job, 0, Medium.video, duration_seconds=5.06)
    worker.complete(job)
    [ours] = jobs.videos(job_id)
    mine = jobs.insert("videos", {"user_id": jobs.user, "job_id": job_id, "image_index": 0, "title": "mine"})
    job, _, [video] = jobs.rows(job_id)
    assert (job["status"], job["video_id"]) == ("completed", mine)
    kept = set(ours) - {"id", "title", "managed", "created_at", "updated_at", "version"}
    assert {column: video[column] for column in kept} == {column: ours[column] for column in kept}
    assert (video["id"], video["title"], video["managed"]) == (mine, "mine", False)


# The rows first, then the job.


def test_rows_that_the_job_names_are_its_rows(db: Database, jobs: Jobs, worker: Hands) -> None:
    ids = loose(jobs)
    insert = "insert into public.jobs (job_type, metadata) values ('sketch', %s) returning id"
    [(job_id,)] = db.execute_as(jobs.user, insert, [Jsonb({"num_images": 3, "image_ids": [str(i) for i in ids]})])
    assert keys(jobs, job_id) == list(enumerate(ids))
    # The application now links them itself, as it always did.
    for index, key in enumerate(ids):
        jobs.run("update public.images set job_id = %s, image_index = %s where id = %s", job_id, index, key)
    finish(worker, worker.take())
    assert_finished(jobs, job_id, list(enumerate(ids)))


def test_a_row_that_the_job_names_keeps_the_index_that_it_has(jobs: Jobs) -> None:
    [last], [first] = loose(jobs, 1, image_index=2), loose(jobs, 1, image_index=0)
    job_id = jobs.add(count=3, metadata={"image_ids": [str(last), str(first)]})
    found = dict(keys(jobs, job_id))
    assert (found[2], found[0]) == (last, first)
    assert sorted(found) == [0, 1, 2]


def test_the_image_that_the_job_points_to_is_its_first(jobs: Jobs, worker: Hands, rule: str) -> None:
    [mine] = loose(jobs, 1)
    job_id = jobs.add(count=3, image_id=mine)
    found = dict(keys(jobs, job_id))
    assert (found[0], sorted(found)) == (mine, [0, 1, 2])
    finish(worker, worker.take())
    assert jobs.get(job_id)["image_id"] == mine


def test_the_video_that_the_job_points_to_is_its_video(jobs: Jobs) -> None:
    mine = jobs.insert("videos", {"user_id": jobs.user})
    job_id = jobs.add("video_fast", video_id=mine)
    assert [(row["id"], row["image_index"]) for row in jobs.videos(job_id)] == [(mine, 0)]


@pytest.mark.parametrize(
    "names",
    ["text", 7, None, {}, [], [None, 1, [], {}, "", "not an id"], [str(uuid4())], ["'; drop table public.images; --"]],
)
def test_names_that_name_nothing_are_passed_over(jobs: Jobs, names: Any) -> None:
    job_id = jobs.add(count=2, metadata={"image_ids": names})
    assert [(row["image_index"], row["managed"]) for row in jobs.images(job_id)] == [(0, True), (1, True)]


@pytest.mark.parametrize("flaw", ["somebody else's", "another job's", "completed"])
def test_what_cannot_become_the_jobs_own_row_is_left_where_it_is(db: Database, jobs: Jobs, flaw: str) -> None:
    columns = {"somebody else's": {"user_id": db.user()}, "another job's": {"job_id": jobs.add("rv51_fast")}}
    [image] = loose(jobs, 1, **columns.get(flaw, {"status": "completed"}))
    before = jobs.run("select * from public.images where id = %s", image)
    job_id = jobs.add(count=2, metadata={"image_ids": [str(image)]})
    assert [(row["image_index"], row["managed"]) for row in jobs.images(job_id)] == [(0, True), (1, True)]
    assert jobs.run("select * from public.images where id = %s", image) == before


def test_a_row_that_is_named_twice_has_one_place(jobs: Jobs) -> None:
    ids = loose(jobs, 2)
    job_id = jobs.add(count=3, metadata={"image_ids": [str(i) for i in (ids[0], ids[0], ids[1])]})
    found = dict(keys(jobs, job_id))
    assert (found[0], found[2], sorted(found)) == (ids[0], ids[1], [0, 1, 2])


def test_more_names_than_images_are_passed_over(jobs: Jobs) -> None:
    ids = loose(jobs, 3)
    job_id = jobs.add(count=2, metadata={"image_ids": [str(i) for i in ids]})
    assert keys(jobs, job_id) == list(enumerate(ids[:2]))
