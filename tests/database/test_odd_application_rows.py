"""Rows of the application that come as upserts, and rows that are not its user's to give."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from jobs import Hands, Jobs
from postgres import Database

COLUMNS = "id, user_id, job_id, image_index, title"
UPSERT = f"insert into public.images ({COLUMNS}) values (%s, %s, %s, 0, 'mine') on conflict"


def test_an_upsert_of_a_row_that_is_there_links_it(jobs: Jobs, worker: Hands) -> None:
    mine = jobs.insert("images", {"user_id": jobs.user})
    job_id = jobs.add()
    job = worker.take()
    worker.record(job)
    update = f"{UPSERT} (id) do update set job_id = excluded.job_id, image_index = excluded.image_index"
    jobs.run(update, mine, jobs.user, job_id)
    [row] = jobs.images(job_id)
    assert (row["id"], row["image_index"], row["status"], row["file_size"]) == (mine, 0, "completed", 1000)
    assert worker.complete(job) == (True, True)


def test_an_upsert_that_does_nothing_leaves_ours_in_its_place(jobs: Jobs) -> None:
    mine = jobs.insert("images", {"user_id": jobs.user})
    job_id = jobs.add()
    ours = jobs.images(job_id)
    jobs.run(f"{UPSERT} (id) do nothing", mine, jobs.user, job_id)
    assert jobs.images(job_id) == ours


def test_an_upsert_by_the_key_replaces_ours_and_then_itself(jobs: Jobs) -> None:
    job_id, mine = jobs.add(), uuid4()
    upsert = f"{UPSERT} (job_id, image_index) do update set title = 'again'"
    jobs.run(upsert, mine, jobs.user, job_id)
    jobs.run(upsert, uuid4(), jobs.user, job_id)
    assert [(row["id"], row["title"]) for row in jobs.images(job_id)] == [(mine, "again")]


def test_a_row_with_a_negative_index_replaces_nothing(jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add()
    worker.record(worker.take())
    [ours] = jobs.images(job_id)
    jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": -1})
    assert ours in jobs.images(job_id)


def test_a_row_of_another_user_does_not_take_over(db: Database, jobs: Jobs) -> None:
    job_id = jobs.add(count=3)
    before = jobs.images(job_id)
    with pytest.raises(psycopg.errors.UniqueViolation):
        jobs.insert("images", {"user_id": db.user(), "job_id": job_id, "image_index": 0})
    assert jobs.images(job_id) == before


@pytest.fixture
def lenient(jobs: Jobs) -> Iterator[None]:
    """An application that lets its users write images."""
    jobs.run("grant insert, update on public.images to authenticated")
    jobs.run("create policy own on public.images to authenticated using (user_id = auth.uid())")
    yield
    jobs.run("drop policy own on public.images")
    jobs.run("revoke insert, update on public.images from authenticated")


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("index", [None, 0, 9])
@pytest.mark.parametrize("way", ["insert", "update"])
def test_a_user_puts_no_row_into_the_job_of_another(db: Database, jobs: Jobs, way: str, index: int | None) -> None:
    job_id, stranger = jobs.add(count=3), db.user()
    before = jobs.images(job_id)
    key = jobs.insert("images", {"user_id": stranger})
    statement = {
        "insert": "insert into public.images (user_id, job_id, image_index) values (%s, %s, %s)",
        "update": "update public.images set user_id = %s, job_id = %s, image_index = %s",
    }[way]
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        db.execute_as(stranger, statement, [stranger, job_id, index])
    assert caught.value.diag.message_primary == "job_id must name a job of your own."
    assert jobs.images(job_id) == before
    own = jobs.add(user_id=stranger)
    db.execute_as(stranger, "update public.images set job_id = %s, image_index = 0 where id = %s", [own, key])
    assert [row["id"] for row in jobs.images(own)] == [key]
