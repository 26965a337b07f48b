"""Two statements that meet: one is held open, the other waits for its lock, and then does what is right.

In each pair the first to lock wins, and the other one sees what it did.
"""

import pytest

from steps import WRITES, late_write, prepare


@pytest.fixture
def job(jobs, worker):
    """A job in the worker's hands, which has sent one heartbeat and none since."""
    jobs.add(count=2)
    worker.beat()
    return worker.take()


def test_a_rescue_waits_for_a_record_that_is_under_way_and_keeps_its_picture(jobs, worker, other, begin, job):
    zombie, rescuer = begin(worker), begin(other)
    assert zombie.record(job, 0)

    rescue = rescuer.start(rescuer.queue.rescue_jobs(worker.id, 0), behind=zombie)
    zombie.commit()

    assert rescuer.end(rescue) == [(job.id, "queued")]
    assert [image["status"] for image in jobs.images(job.id)] == ["completed", "queued"]


def test_a_rescue_that_ends_the_job_keeps_the_picture_that_was_under_way(jobs, worker, other, begin, job):
    jobs.set(job.id, max_attempts=1)
    zombie, rescuer = begin(worker), begin(other)
    zombie.record(job, 1)

    rescue = rescuer.start(rescuer.queue.rescue_jobs(worker.id, 0), behind=zombie)
    zombie.commit()

    assert rescuer.end(rescue) == [(job.id, "failed")]
    assert [image["status"] for image in jobs.images(job.id)] == ["failed", "completed"]


@pytest.mark.parametrize("write", WRITES)
def test_a_late_write_waits_for_a_rescue_that_is_under_way_and_writes_nothing(jobs, worker, other, begin, job, write):
    prepare(worker, write, job)
    rescuer, zombie = begin(other), begin(worker)
    rescuer.rescue(worker.id, 0)

    late = zombie.start(late_write(zombie, write, job), behind=rescuer)
    rescuer.commit()
    rescued = jobs.rows(job.id)

    assert not zombie.end(late)
    assert jobs.rows(job.id) == rescued
    assert rescued[0]["status"] == "queued"


def test_a_rescue_waits_for_a_complete_that_is_under_way_and_leaves_the_job_alone(jobs, worker, other, begin, job):
    worker.record(job, 0)
    worker.record(job, 1)
    zombie, rescuer = begin(worker), begin(other)
    assert zombie.complete(job, 2) == (True, True)

    rescue = rescuer.start(rescuer.queue.rescue_jobs(worker.id, 0), behind=zombie)
    zombie.commit()

    assert rescuer.end(rescue) == []
    assert jobs.get(job.id)["status"] == "completed"
    assert jobs.get(job.id)["errors"] == []


def test_of_two_rescuers_at_once_one_rescues(jobs, runner, worker, other, begin, job):
    first, second = begin(other), begin(other)
    assert first.rescue(worker.id, 0) == [(job.id, "queued")]

    late = second.start(second.queue.rescue_jobs(worker.id, 0), behind=first)
    first.commit()

    assert second.end(late) == []
    assert len(jobs.get(job.id)["errors"]) == 1


def test_of_two_rescuers_of_a_worker_without_a_row_one_rescues(jobs, worker, other, begin, job):
    worker.do(worker.queue.delete_worker())
    first, second = begin(other), begin(other)
    assert first.rescue(worker.id, None) == [(job.id, "queued")]

    late = second.start(second.queue.rescue_jobs(worker.id, None), behind=first)
    first.commit()

    assert second.end(late) == []
    assert len(jobs.get(job.id)["errors"]) == 1


def test_a_rescue_that_meets_a_heartbeat_leaves_the_jobs_alone(jobs, worker, other, begin, job):
    alive, rescuer = begin(worker), begin(other)
    alive.beat()

    rescue = rescuer.start(rescuer.queue.rescue_jobs(worker.id, 0), behind=alive)
    alive.commit()

    assert rescuer.end(rescue) == []
    assert jobs.get(job.id)["worker_id"] == worker.id
    assert jobs.workers()[worker.id]["beats"] == 1


def test_a_heartbeat_that_meets_a_rescue_hears_that_it_holds_nothing(jobs, worker, other, begin, job):
    rescuer, late = begin(other), begin(worker)
    rescuer.rescue(worker.id, 0)

    beat = late.start(late.queue.heartbeat("a worker", ("sketch",), 45.0, False), behind=rescuer)
    rescuer.commit()

    late.end(beat)
    assert late.do(late.queue.held_jobs()) == set()
    assert jobs.workers()[worker.id]["beats"] == 0


@pytest.mark.parametrize("write", ["record", "complete"])
def test_a_cancel_waits_for_a_write_that_is_under_way_and_keeps_the_picture(jobs, worker, begin, job, write):
    prepare(worker, write, job)
    writing, user = begin(worker), begin(worker)
    assert writing.do(late_write(writing, write, job))

    cancel = user.start(user.sql("select public.cancel_job(%s)", job.id), behind=writing)
    writing.commit()

    ended = "cancelled" if write == "record" else "completed"
    assert user.end(cancel) == [(ended,)]
    assert jobs.get(job.id)["status"] == ended
    assert [image["status"] for image in jobs.images(job.id)] == ["completed", "completed"]


@pytest.mark.parametrize("write", WRITES)
def test_a_late_write_waits_for_a_cancel_that_is_under_way_and_writes_nothing(jobs, worker, begin, job, write):
    prepare(worker, write, job)
    user, late = begin(worker), begin(worker)
    assert user.do(user.sql("select public.cancel_job(%s)", job.id)) == [("cancelled",)]

    writing = late.start(late_write(late, write, job), behind=user)
    user.commit()
    cancelled = jobs.rows(job.id)

    assert not late.end(writing)
    assert jobs.rows(job.id) == cancelled
    assert [image["status"] for image in cancelled[1]] == [
        "completed",
        "completed" if write == "complete" else "cancelled",
    ]


def test_a_user_who_asks_twice_at_once_has_the_job_retried_once(jobs, worker, begin, job):
    worker.fail(job)
    first, second = begin(worker), begin(worker)
    assert first.do(first.sql("select public.retry_job(%s)", job.id)) == [("queued",)]

    again = second.start(second.sql("select public.retry_job(%s)", job.id), behind=first)
    first.commit()
    place = jobs.get(job.id)["queue_at"]

    assert second.end(again) == [("queued",)]
    assert jobs.get(job.id)["queue_at"] == place


def test_a_users_retry_waits_for_a_failure_that_is_under_way_and_then_takes_effect(jobs, worker, begin, job):
    failing, user = begin(worker), begin(worker)
    failing.fail(job)

    retry = user.start(user.sql("select public.retry_job(%s)", job.id), behind=failing)
    failing.commit()

    assert user.end(retry) == [("queued",)]
    assert [image["status"] for image in jobs.images(job.id)] == ["queued", "queued"]


def test_a_cancel_waits_for_a_claim_that_is_under_way_and_takes_the_job_from_it(jobs, worker, begin):
    job_id = jobs.add()
    claiming, user = begin(worker), begin(worker)
    claiming.take()

    cancel = user.start(user.sql("select public.cancel_job(%s)", job_id), behind=claiming)
    claiming.commit()

    assert user.end(cancel) == [("cancelled",)]
    row = jobs.get(job_id)
    assert (row["status"], row["worker_id"], row["attempts"]) == ("cancelled", None, 1)


def test_a_claim_passes_by_a_job_that_is_just_being_cancelled(jobs, worker, begin):
    first, second = jobs.add(), jobs.add()
    user = begin(worker)
    user.do(user.sql("select public.cancel_job(%s)", first))
    assert worker.take().id == second
    user.commit()
    assert worker.claim() is None


def test_a_rescue_waits_for_a_cancel_that_is_under_way_and_rescues_nothing(jobs, worker, other, begin, job):
    user, rescuer = begin(worker), begin(other)
    user.do(user.sql("select public.cancel_job(%s)", job.id))

    rescue = rescuer.start(rescuer.queue.rescue_jobs(worker.id, 0), behind=user)
    user.commit()

    assert rescuer.end(rescue) == []
    assert jobs.get(job.id)["status"] == "cancelled"


def test_a_worker_that_claims_while_it_is_being_rescued_keeps_the_new_job(jobs, worker, other, begin, job):
    new = jobs.add()
    worker.beat()
    worker.do(worker.queue.mark_idle())
    rescuer, zombie = begin(other), begin(worker)
    rescuer.rescue(worker.id, jobs.workers()[worker.id]["beats"])

    claim = zombie.start(zombie.queue.claim_jobs(["sketch"]), behind=rescuer)
    rescuer.commit()

    [claimed] = zombie.end(claim)
    assert claimed.id == new
    worker.beat()
    assert worker.do(worker.queue.held_jobs()) == {(new, jobs.get(new)["claim_id"])}
    assert jobs.get(job.id)["status"] == "queued"


def test_two_sweeps_at_once_promote_each_job_once(jobs, worker, other, begin):
    jobs.set(jobs.add(), queue_at=None, available_at=jobs.value("select now() - interval '1 second'"))
    first = begin(worker)
    assert first.promote() == (1, None)
    assert other.promote() == (0, None)
    first.commit()
    assert worker.take().attempts == 1


def test_a_prepare_that_is_repeated_meets_the_first_one_without_a_deadlock(jobs, worker, begin):
    # Before the claim, which leaves it without an index.
    own = jobs.insert("images", {"user_id": jobs.user, "job_id": jobs.add(count=2), "status": "queued"})
    job = worker.take()
    reader, first, repeated = begin(worker), begin(worker, autocommit=True), begin(worker, autocommit=True)
    reader.do(reader.sql("select from public.jobs where id = %s for share", job.id))

    one = first.start(first.assets.pending(job, "image", 2), behind=reader)
    two = repeated.start(repeated.assets.pending(job, "image", 2), behind=first)
    reader.commit()

    assert first.end(one) == repeated.end(two) == [0, 1]
    assert [(image["id"] == own, image["image_index"]) for image in jobs.images(job.id)] == [(True, 0), (False, 1)]
