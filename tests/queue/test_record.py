"""record_image and record_video: a result becomes visible in its row."""

import psycopg
import pytest

from consumer.errors import LeaseLostError
from consumer.job import Medium
from jobs import result

WAN = ("wan",)


def test_a_recorded_image_shows_what_was_stored(jobs, worker):
    job_id = jobs.add(count=2)
    job = worker.take()
    sent = result(job, 1, steps=8)

    assert worker.record(job, 1, steps=8) is True

    untouched, image = jobs.images(job_id)
    assert (image["status"], image["progress"], image["error_message"]) == ("completed", 100, None)
    assert (image["image_url"], image["thumbnail_url"]) == (sent.url, sent.thumbnail_url)
    assert (image["seed"], image["file_size"], image["format"]) == (sent.seed, sent.file_size, "png")
    assert image["metadata"] == sent.metadata
    assert image["updated_at"] > image["created_at"]
    assert untouched["status"] == "queued"
    assert jobs.get(job_id)["status"] == "processing"


def test_a_recorded_video_shows_what_was_stored(jobs, worker):
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    sent = result(job, 0, Medium.video, duration_seconds=5.06)

    assert worker.record(job, 0, Medium.video, duration_seconds=5.06) is True

    [video] = jobs.videos(job_id)
    assert (video["status"], video["progress"], video["error_message"]) == ("completed", 100, None)
    assert (video["video_url"], video["thumbnail_url"]) == (sent.url, sent.thumbnail_url)
    assert (video["seed"], video["file_size"], video["format"]) == (sent.seed, sent.file_size, "mp4")
    assert (video["duration"], video["resolution"]) == (5, "512x768")
    assert video["metadata"] == sent.metadata
    assert video["completed_at"] > video["created_at"]


@pytest.mark.parametrize(("measured", "shown"), [(5.06, 5), (5.6, 6), (0.2, 1), (None, None)])
def test_a_videos_duration_is_shown_in_whole_seconds_and_never_guessed(jobs, worker, measured, shown):
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.record(job, 0, Medium.video, **({} if measured is None else {"duration_seconds": measured}))
    assert jobs.videos(job_id)[0]["duration"] == shown


@pytest.mark.parametrize("medium", list(Medium))
def test_a_result_is_recorded_once(jobs, worker, medium):
    job_id = jobs.add("sketch" if medium is Medium.image else "video_fast")
    job = worker.take("sketch", "video_fast")
    worker.record(job, 0, medium)
    before = jobs.rows(job_id)
    assert worker.record(job, 0, medium, steps=99) is False
    assert jobs.rows(job_id) == before


def test_a_record_of_a_row_that_is_gone_says_so(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    jobs.run("delete from public.images where job_id = %s", job_id)
    assert worker.record(job) is False
    assert jobs.images(job_id) == []


def test_a_record_keeps_what_the_application_wrote_into_the_row(jobs, worker):
    job_id = jobs.add()
    jobs.run("""update public.images set title = 'Mine', metadata = '{"album": 3}', error_message = 'old'""")
    job = worker.take()
    worker.record(job)
    [image] = jobs.images(job_id)
    assert (image["title"], image["metadata"]["album"], image["error_message"]) == ("Mine", 3, None)


@pytest.mark.parametrize("medium", list(Medium))
@pytest.mark.parametrize("status", ["queued", "failed", "cancelled"])
def test_nothing_is_recorded_for_a_job_that_is_not_processing(jobs, worker, medium, status):
    job_id = jobs.add("sketch" if medium is Medium.image else "video_fast")
    job = worker.take("sketch", "video_fast")
    jobs.set(job_id, status=status)
    before = jobs.rows(job_id)
    with pytest.raises(LeaseLostError):
        worker.record(job, 0, medium)
    assert jobs.rows(job_id) == before


@pytest.mark.parametrize("state", ["54000", "55000"])
def test_a_limit_of_the_application_is_told_and_not_tried_for_ever(jobs, worker, state):
    """Such as an index on images that has no room for a value: the driver calls it operational."""
    jobs.add()
    job = worker.take()
    body = f"begin raise exception 'no room' using errcode = '{state}'; end"
    jobs.run(f"create function public.no_room() returns trigger language plpgsql as $$ {body} $$")
    jobs.run("create trigger no_room before update on public.images for each row execute function public.no_room()")
    try:
        with pytest.raises(psycopg.OperationalError, match="no room"):
            worker.record(job, 0)
    finally:
        jobs.run("drop function public.no_room() cascade")
