"""An application and a worker, or two browsers, at the same row at the same moment."""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from consumer.job import Job, Medium
from jobs import Hands, Jobs, result
from steps import Open

Begin = Callable[..., Open]


def insert(open_: Open, jobs: Jobs, job_id: object, index: int = 0) -> Coroutine[Any, Any, Any]:
    """The application's row for one image, as a step."""
    statement = "insert into public.images (id, user_id, job_id, image_index, title) values (%s, %s, %s, %s, 'mine')"
    return open_.sql(statement, uuid4(), jobs.user, job_id, index)


def assert_one_row_each(jobs: Jobs, job_id: object, managed: list[bool]) -> None:
    assert [(row["image_index"], row["managed"]) for row in jobs.images(job_id)] == list(enumerate(managed))


def test_of_two_browsers_at_once_one_has_the_row(jobs: Jobs, begin: Begin) -> None:
    job_id = jobs.add(count=2)
    first, second = begin(), begin()
    first.do(insert(first, jobs, job_id))
    late = second.start(insert(second, jobs, job_id), behind=first)
    first.commit()
    with pytest.raises(psycopg.errors.UniqueViolation):
        second.end(late)
    assert_one_row_each(jobs, job_id, [False, True])


def test_the_second_browser_has_the_row_when_the_first_gives_up(jobs: Jobs, begin: Begin) -> None:
    job_id = jobs.add(count=2)
    first, second = begin(), begin()
    first.do(insert(first, jobs, job_id))
    late = second.start(insert(second, jobs, job_id), behind=first)
    first.rollback()
    second.end(late)
    assert_one_row_each(jobs, job_id, [False, True])


def test_two_browsers_that_link_the_same_key_leave_one_row_there(jobs: Jobs, begin: Begin) -> None:
    job_id = jobs.add()
    ids = [jobs.insert("images", {"user_id": jobs.user}) for _ in range(2)]
    first, second = begin(), begin()
    link = "update public.images set job_id = %s, image_index = 0 where id = %s"
    first.do(first.sql(link, job_id, ids[0]))
    late = second.start(second.sql(link, job_id, ids[1]), behind=first)
    first.commit()
    with pytest.raises(psycopg.errors.UniqueViolation):
        second.end(late)
    assert [row["id"] for row in jobs.images(job_id)] == [ids[0]]


def test_two_browsers_with_the_rows_in_opposite_order_do_not_lock_each_other_up(jobs: Jobs, begin: Begin) -> None:
    job_id = jobs.add(count=2)
    first, second = begin(), begin()
    first.do(insert(first, jobs, job_id, 0))
    late = second.start(insert(second, jobs, job_id, 1), behind=first)
    first.do(insert(first, jobs, job_id, 1))
    first.commit()
    with pytest.raises(psycopg.errors.UniqueViolation):
        second.end(late)
    assert_one_row_each(jobs, job_id, [False, False])


@pytest.fixture
def job(jobs: Jobs, worker: Hands) -> Job:
    """A job of two images in the worker's hands."""
    jobs.add(count=2)
    return worker.take()


def test_an_application_waits_for_a_record_that_is_under_way_and_takes_it_over(
    jobs: Jobs, begin: Begin, job: Job
) -> None:
    recorder, application = begin(), begin()
    recorder.record(job, 0)
    late = application.start(insert(application, jobs, job.id), behind=recorder)
    recorder.record(job, 1)
    recorder.commit()
    application.end(late)
    assert_one_row_each(jobs, job.id, [False, True])
    first, second = jobs.images(job.id)
    assert (first["title"], first["status"], first["seed"]) == ("mine", "completed", 7)
    assert second["status"] == "completed"


def test_a_record_waits_for_an_application_that_is_under_way_and_lands_in_its_row(
    jobs: Jobs, worker: Hands, begin: Begin, job: Job
) -> None:
    application, recorder = begin(), begin(autocommit=True)
    application.do(insert(application, jobs, job.id))
    late = recorder.start(recorder.assets.record(job, Medium.image, result(job, 0)), behind=application)
    application.do(insert(application, jobs, job.id, 1))
    application.commit()
    assert recorder.end(late) == (True, False)
    worker.record(job, 1)
    assert worker.complete(job, 2) == (True, True)
    assert_one_row_each(jobs, job.id, [False, False])
    assert [row["status"] for row in jobs.images(job.id)] == ["completed", "completed"]


def test_an_application_that_links_a_row_and_a_worker_that_ends_the_job_do_not_lock_each_other_up(
    jobs: Jobs, worker: Hands, begin: Begin, job: Job
) -> None:
    mine = jobs.insert("images", {"user_id": jobs.user})
    application, ender = begin(), begin(autocommit=True)
    application.do(application.sql("update public.images set job_id = %s, image_index = 0 where id = %s", job.id, mine))
    late = ender.start(ender.queue.fail_job(job, "It broke.", {}), behind=application)
    application.commit()
    assert ender.end(late)
    assert jobs.get(job.id)["status"] == "failed"
