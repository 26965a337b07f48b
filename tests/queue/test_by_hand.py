"""A job whose status somebody changes by hand, as in a dashboard, or an old service: it is not stuck."""

import pytest


@pytest.mark.parametrize("before", ["failed", "cancelled", "completed"])
def test_a_job_that_is_queued_by_hand_is_taken_again(jobs, worker, before):
    job_id = jobs.add()
    worker.take()
    jobs.set(job_id, status=before, worker_id=None)
    jobs.run("update public.jobs set status = 'queued' where id = %s", job_id)
    job = worker.take()
    assert (job.id, job.attempts) == (job_id, 1)


def test_a_running_job_that_is_queued_by_hand_is_no_longer_its_workers(jobs, worker, other):
    job_id = jobs.add()
    first = worker.take()
    jobs.run("update public.jobs set status = 'queued' where id = %s", job_id)
    assert other.take().id == job_id
    assert worker.complete(first) == (False, False)


def test_a_job_that_is_set_to_processing_by_hand_is_rescued(jobs, worker):
    job_id = jobs.add()
    jobs.run("update public.jobs set status = 'processing', started_at = now(), queue_at = null where id = %s", job_id)
    assert None in [beat.worker_id for beat in worker.do(worker.queue.watch_workers())]
    assert worker.do(worker.queue.rescue_jobs(None, None)) == [(job_id, "queued")]
    assert worker.take().id == job_id


def test_jobs_of_others_that_nobody_holds_are_left_alone(jobs, worker):
    theirs = jobs.add("rv51_fast")
    jobs.run("update public.jobs set status = 'processing' where id = %s", theirs)
    assert None not in [beat.worker_id for beat in worker.do(worker.queue.watch_workers())]
    assert worker.do(worker.queue.rescue_jobs(None, None)) == []
    assert jobs.get(theirs)["status"] == "processing"
