"""record_progress: how far a job and its assets are."""

import pytest

WAN = ("wan",)


def test_progress_is_shown_in_the_job_and_in_its_rows(jobs, worker):
    job_id = jobs.add(count=3, metadata={"prompt": "A harbour"})
    job = worker.take()
    worker.record(job, 0)

    worker.progress(job, 45, {1: 30, 2: 5})

    metadata = jobs.get(job_id)["metadata"]
    assert (metadata["progress"], metadata["prompt"]) == (45, "A harbour")
    images = jobs.images(job_id)
    assert [image["progress"] for image in images] == [100, 30, 5]
    assert [image["status"] for image in images] == ["completed", "processing", "processing"]


def test_a_videos_progress_is_shown_in_its_row(jobs, worker):
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.progress(job, 12, {0: 12})
    assert [(video["status"], video["progress"]) for video in jobs.videos(job_id)] == [("processing", 12)]


def test_progress_never_goes_back(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    for percent in (40, 20, 60, 59):
        worker.progress(job, percent, {0: percent})
    assert jobs.get(job_id)["metadata"]["progress"] == 60
    assert jobs.images(job_id)[0]["progress"] == 60


def test_progress_of_a_completed_asset_stays_at_a_hundred(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    worker.record(job)
    before = jobs.images(job_id)
    worker.progress(job, 99, {0: 50})
    assert jobs.images(job_id) == before


@pytest.mark.parametrize("status", ["queued", "completed", "failed", "cancelled"])
def test_progress_is_not_shown_once_the_job_is_not_processing(jobs, worker, status):
    job_id = jobs.add()
    job = worker.take()
    jobs.set(job_id, status=status)
    before = jobs.rows(job_id)
    worker.progress(job, 50, {0: 50})
    assert jobs.rows(job_id) == before


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("half way", 10),
        (None, 10),
        ({"percent": 5}, 10),
        ([50], 10),
        (True, 10),
        ("99", 10),
        (-5, 10),
        (10**40, 100),
        (12.5, 12.5),
    ],
    ids=str,
)
def test_a_hostile_progress_in_the_request_harms_nobody(jobs, worker, sent, shown):
    job_id = jobs.add(metadata={"progress": sent})
    job = worker.take()
    worker.progress(job, 10, {0: 10})
    assert jobs.get(job_id)["metadata"]["progress"] == shown
    worker.record(job)
    assert worker.complete(job) == (True, True)
    assert jobs.get(job_id)["metadata"]["progress"] == 100
