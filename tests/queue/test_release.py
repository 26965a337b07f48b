"""release_job: a job is given back untouched."""

import pytest


def test_a_released_job_gets_its_attempt_and_its_place_back(jobs, worker, started):
    assert worker.release(started) is True
    row = jobs.get(started.id)
    assert (row["status"], row["worker_id"], row["attempts"], row["available_at"]) == ("queued", None, 0, None)
    assert row["queue_at"] == row["start_tag"] is not None
    assert row["errors"] == []


def test_a_released_job_is_served_before_those_that_came_after_it(jobs, worker):
    first, second = jobs.add(), jobs.add()
    worker.release(worker.take())
    assert [worker.take().id for _ in range(2)] == [first, second]


def test_a_released_jobs_rows_wait_with_it_and_finished_ones_stay(jobs, worker, started):
    recorded = jobs.images(started.id)[0]
    worker.release(started)
    images = jobs.images(started.id)
    assert [(image["status"], image["progress"]) for image in images[1:]] == [("queued", None), ("queued", None)]
    assert images[0] == recorded


def test_a_released_videos_row_waits_with_it(jobs, worker):
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.progress(job, 40, {0: 40})
    worker.release(job)
    assert [(video["status"], video["progress"]) for video in jobs.videos(job_id)] == [("queued", None)]


def test_an_old_row_that_never_had_a_place_gets_one(jobs, worker, started):
    jobs.set(started.id, start_tag=None)
    worker.release(started)
    assert worker.take().id == started.id


def test_only_the_released_attempt_is_given_back(jobs, worker):
    jobs.add()
    worker.retry(worker.take(), delay=0)
    worker.promote()
    worker.release(worker.take())
    assert worker.take().attempts == 2


def test_a_release_tells_the_workers_that_listen(db, worker, started):
    listener = db.connect()
    listener.execute("listen consumer_jobs")
    worker.release(started)
    assert [notify.payload for notify in listener.notifies(timeout=10, stop_after=1)] == [""]


@pytest.mark.parametrize("status", ["queued", "completed", "failed", "cancelled"])
def test_a_job_that_is_not_processing_is_not_released(jobs, worker, started, status):
    jobs.set(started.id, status=status)
    before = jobs.rows(started.id)
    assert worker.release(started) is False
    assert jobs.rows(started.id) == before


def test_a_job_whose_row_is_gone_is_not_released(jobs, worker, started):
    jobs.run("delete from public.jobs where id = %s", started.id)
    assert worker.release(started) is False


def test_a_release_whose_reply_was_lost_is_repeated_without_effect(jobs, worker, started):
    worker.release(started)
    before = jobs.rows(started.id)
    assert worker.release(started) is False
    assert jobs.rows(started.id) == before
