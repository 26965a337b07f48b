"""The fence: whatever a worker writes after its claim is over changes nothing."""

import pytest

from steps import WRITES, late_write, prepare

AFTERWARDS = [
    "released",
    "released, claimed again by itself",
    "released, claimed by another",
    "retried, claimed by another",
    "rescued",
    "rescued, claimed by another",
    "rescued, completed by another",
    "failed",
    "cancelled",
    "cancelled, retried by the user",
    "cancelled, retried by the user, claimed by another",
]


@pytest.fixture
def happen(jobs, worker, other):
    """Makes one thing happen to the job that the worker holds."""

    def retry(job):
        worker.retry(job, delay=0)
        other.promote()

    def complete(job):
        successor = other.take()
        for index in other.do(other.assets.pending(successor, "image", 2)):
            other.record(successor, index)
        assert other.complete(successor, 2) == (True, True)

    return {
        "released": worker.release,
        "retried": retry,
        "rescued": lambda job: other.rescue(worker.id, None),
        "failed": worker.fail,
        "cancelled": lambda job: jobs.run("select public.cancel_job(%s)", job.id),
        "retried by the user": lambda job: jobs.run("select public.retry_job(%s)", job.id),
        "claimed again by itself": lambda job: worker.take(),
        "claimed by another": lambda job: other.take(),
        "completed by another": complete,
    }


@pytest.mark.parametrize("story", AFTERWARDS)
@pytest.mark.parametrize("write", WRITES)
def test_a_late_write_changes_nothing(jobs, worker, happen, write, story):
    jobs.add(count=2)
    late = worker.take()
    prepare(worker, write, late)
    for event in story.split(", "):
        happen[event](late)
    before = jobs.rows(late.id)

    assert not worker.do(late_write(worker, write, late))

    assert jobs.rows(late.id) == before


@pytest.mark.parametrize("write", WRITES)
def test_the_same_write_of_the_successor_takes_effect(jobs, worker, other, write):
    jobs.add(count=2)
    late = worker.take()
    prepare(worker, write, late)
    worker.release(late)
    job = other.take()
    if write == "complete":
        other.record(job, 1)
    before = jobs.rows(job.id)

    other.do(late_write(other, write, job))

    assert jobs.rows(job.id) != before


def test_a_zombies_picture_never_replaces_its_successors(jobs, worker, other):
    job_id = jobs.add()
    zombie = worker.take()
    other.rescue(worker.id, None)
    successor = other.take()
    other.record(successor, 0, model="the successor's")

    with pytest.raises(Exception, match="no longer held"):
        worker.record(zombie, 0, model="the zombie's")

    assert jobs.images(job_id)[0]["metadata"]["model"] == "the successor's"
    assert other.complete(successor) == (True, True)
