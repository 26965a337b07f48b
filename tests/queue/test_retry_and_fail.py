"""retry_job and fail_job: what an attempt that went wrong leaves behind."""

from datetime import timedelta
from pathlib import Path

import pytest

from consumer.assets import Assets
from consumer.delivery import Delivery
from consumer.errors import Decision, Verdict
from consumer.failures import Failures
from consumer.lane import Lane
from consumer.lease import Lease, Trust
from consumer.process import Workshop, settle
from consumer.references import References
from consumer.settings import PHASE_SECONDS
from consumer.storage.local import LocalStorage
from consumer.watchdog import Watchdog
from jobs import ERROR


def test_a_retried_job_waits_outside_the_line_until_it_is_due(jobs, worker, started):
    before, now = jobs.get(started.id), jobs.value("select now()")

    assert worker.retry(started, delay=60) is True

    row = jobs.get(started.id)
    assert (row["status"], row["worker_id"], row["queue_at"], row["attempts"]) == ("queued", None, None, 1)
    assert row["start_tag"] == before["start_tag"]
    assert timedelta(seconds=60) <= row["available_at"] - now < timedelta(seconds=70)
    assert (row["completed_at"], row["error_message"]) == (None, None)
    assert worker.claim() is None


def test_a_retried_jobs_unfinished_rows_wait_with_it(jobs, worker, started):
    recorded = jobs.images(started.id)[0]
    worker.retry(started)
    images = jobs.images(started.id)
    assert [(image["status"], image["progress"]) for image in images[1:]] == [("queued", None), ("queued", None)]
    assert images[0] == recorded


def test_a_retried_videos_row_waits_with_it(jobs, worker):
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.progress(job, 40, {0: 40})
    worker.retry(job)
    assert [(video["status"], video["progress"]) for video in jobs.videos(job_id)] == [("queued", None)]


def test_every_attempts_error_is_kept(jobs, worker):
    job_id = jobs.add()
    for _ in range(2):
        worker.retry(worker.take(), delay=0)
        worker.promote()
    worker.fail(worker.take())
    row = jobs.get(job_id)
    assert row["errors"] == [ERROR, ERROR, ERROR]
    assert row["attempts"] == 3


def test_the_attempts_of_a_retried_job_are_counted_on(jobs, worker):
    jobs.add()
    for attempt in (1, 2, 3):
        job = worker.take()
        assert (job.attempts, job.max_attempts) == (attempt, 3)
        worker.retry(job, delay=0)
        worker.promote()


def test_a_retried_job_comes_back_to_its_old_place(jobs, worker):
    first, second, third = (jobs.add() for _ in range(3))
    job = worker.take()
    worker.retry(job, delay=0)
    assert worker.promote() == (1, None)
    assert [worker.take().id for _ in range(3)] == [first, second, third]


def test_a_job_that_its_user_retries_goes_to_the_end_of_the_line(jobs, worker):
    first, second, third = (jobs.add() for _ in range(3))
    worker.fail(worker.take())
    jobs.run("select public.retry_job(%s)", first)
    assert [worker.take().id for _ in range(3)] == [second, third, first]


def test_a_retry_tells_the_workers_that_listen(jobs, db, worker, started):
    listener = db.connect()
    listener.execute("listen consumer_jobs")
    worker.retry(started)
    assert [notify.payload for notify in listener.notifies(timeout=10, stop_after=1)] == [""]


def test_the_delay_of_a_retry_has_jitter_within_its_bounds(jobs, worker, tmp_path: Path):
    trust, lane = Trust(45, 20), Lane(Watchdog(PHASE_SECONDS))
    delivery = Delivery(Assets(worker.database), LocalStorage(tmp_path, "b"), trust, 20)
    shop = Workshop(
        worker.queue, worker.assets, {}, {}, lane, delivery, References(delivery.storage), None, Failures(5), print
    )
    delays = []
    for attempts in [0] * 8 + [1] * 8:
        job_id = jobs.add(attempts=attempts)
        job = worker.take()
        worker.do(settle(Lease(job), Decision(Verdict.retry, ""), OSError("a disk"), shop))
        row = jobs.get(job_id)
        delays.append((row["available_at"] - jobs.value("select now()")).total_seconds())
        assert row["errors"][0]["type"] == "OSError"
    lane.close()
    delivery.close()

    assert all(2 <= delay <= 5 for delay in delays[:8])
    assert all(4 <= delay <= 10 for delay in delays[8:])
    assert max(delays[:8]) - min(delays[:8]) > 0.05


def test_a_failed_job_tells_its_user_why_in_a_sentence(jobs, worker, started):
    jobs.set(started.id, metadata={"prompt": "A harbour", "num_images": 3})

    assert worker.fail(started, "The picture could not be made.") is True

    row = jobs.get(started.id)
    assert (row["status"], row["worker_id"], row["queue_at"], row["available_at"]) == ("failed", None, None, None)
    assert row["error_message"] == "The picture could not be made."
    assert row["completed_at"] >= row["started_at"]
    metadata = row["metadata"]
    assert (metadata["error_type"], metadata["job_type"]) == ("OddError", "sketch")
    assert (metadata["prompt"], metadata["num_images"]) == ("A harbour", 3)
    assert jobs.value("select now() - (metadata ->> 'timestamp')::timestamptz < interval '1 minute' from public.jobs")
    assert metadata["traceback"] is None


def test_a_failed_jobs_unfinished_rows_fail_with_it_and_finished_ones_stay(jobs, worker, started):
    recorded = jobs.images(started.id)[0]
    worker.fail(started, "No.")
    images = jobs.images(started.id)
    assert [(image["status"], image["error_message"]) for image in images[1:]] == [("failed", "No."), ("failed", "No.")]
    assert images[0] == recorded


def test_a_failed_videos_row_fails_with_it(jobs, worker):
    job_id = jobs.add("video_fast")
    worker.fail(worker.take("video_fast"), "No.")
    assert [(video["status"], video["error_message"]) for video in jobs.videos(job_id)] == [("failed", "No.")]


def test_metadata_that_is_no_object_does_not_keep_a_job_from_failing(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    jobs.set(job_id, metadata=["odd"])
    assert worker.fail(job) is True
    assert jobs.get(job_id)["metadata"]["error_type"] == "OddError"


@pytest.mark.parametrize("write", ["retry", "fail"])
@pytest.mark.parametrize("status", ["queued", "completed", "failed", "cancelled"])
def test_a_job_that_is_not_processing_is_neither_retried_nor_failed(jobs, worker, started, write, status):
    jobs.set(started.id, status=status)
    before = jobs.rows(started.id)
    assert getattr(worker, write)(started) is False
    assert jobs.rows(started.id) == before


@pytest.mark.parametrize("write", ["retry", "fail"])
def test_a_job_whose_row_is_gone_is_neither_retried_nor_failed(jobs, worker, started, write):
    jobs.run("delete from public.jobs where id = %s", started.id)
    assert getattr(worker, write)(started) is False


@pytest.mark.parametrize("write", ["retry", "fail"])
def test_a_write_whose_reply_was_lost_is_repeated_without_effect(jobs, worker, started, write):
    getattr(worker, write)(started)
    before = jobs.rows(started.id)
    assert getattr(worker, write)(started) is False
    assert jobs.rows(started.id) == before
