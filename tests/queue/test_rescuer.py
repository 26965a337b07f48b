"""The rescuer: a worker is dead when its heartbeat stood still for a whole lease of uninterrupted watch, no sooner."""

import pytest

from consumer.queue import Queue
from consumer.rescue import Rescuer

LEASE = 45.0


@pytest.fixture
def lost(jobs, worker):
    """A job whose worker has sent one heartbeat."""
    jobs.add()
    worker.beat(lease_seconds=LEASE)
    return worker.take()


@pytest.fixture
def watch(jobs, other, clock, lost):
    """Looks once, so many seconds after the beginning; returns the lost job's status afterwards."""
    rescuer = Rescuer(other.queue, LEASE)
    begun = clock.now

    def look(seconds):
        clock.now = begun + seconds
        other.do(rescuer.watch())
        return jobs.get(lost.id)["status"]

    look.rescuer = rescuer
    return look


def test_a_worker_is_rescued_after_a_whole_lease_without_a_heartbeat_and_no_sooner(watch):
    assert [watch(seconds) for seconds in (0, 20, 44.9)] == ["processing"] * 3
    assert watch(45) == "queued"


def test_one_look_rescues_nobody_however_old_the_heartbeat_is(jobs, watch, worker):
    jobs.run("update consumer.workers set heartbeat_at = now() - interval '1 day'")
    assert watch(100_000) == "processing"


def test_a_heartbeat_begins_the_wait_anew(watch, worker):
    watch(0)
    watch(30)
    worker.beat(lease_seconds=LEASE)
    assert watch(46) == "processing"
    assert watch(90.9) == "processing"
    assert watch(91) == "queued"


def test_a_heartbeat_after_the_last_look_saves_the_worker(jobs, watch, worker, other, lost):
    watch(0)

    class Late(Queue):
        async def rescue_jobs(self, worker_id, beats):
            await worker.queue.heartbeat("a worker", ("sketch",), LEASE, False)
            return await super().rescue_jobs(worker_id, beats)

    watch.rescuer.queue = Late(other.database, other.id)
    assert watch(60) == "processing"
    assert watch(104) == "processing"


def test_forgetting_begins_every_wait_anew(watch):
    watch(0)
    watch(44)
    watch.rescuer.forget()
    assert watch(46) == "processing"
    assert watch(90) == "processing"
    assert watch(91) == "queued"


@pytest.mark.parametrize("lease", [10.0, 120.0])
def test_the_lost_workers_own_lease_counts(jobs, watch, lease):
    jobs.run("update consumer.workers set lease_seconds = %s", lease)
    watch(0)
    assert watch(lease - 0.1) == "processing"
    assert watch(lease) == "queued"


def test_a_worker_whose_row_vanished_is_rescued_after_the_watchers_lease(watch, worker):
    worker.do(worker.queue.delete_worker())
    watch(0)
    assert watch(44.9) == "processing"
    assert watch(45) == "queued"


def test_a_row_that_vanishes_begins_the_wait_anew(watch, worker):
    watch(0)
    worker.do(worker.queue.delete_worker())
    assert watch(40) == "processing"
    assert watch(84.9) == "processing"
    assert watch(85) == "queued"


def test_the_time_that_an_answer_took_does_not_count(watch, clock, other):
    class Slow(Queue):
        async def watch_workers(self):
            beats = await super().watch_workers()
            clock.now += 30
            return beats

    watch.rescuer.queue = Slow(other.database, other.id)
    watch(0)
    assert watch(74.9) == "processing"
    assert watch(75) == "queued"


@pytest.mark.parametrize("row", [True, False], ids=["with a row", "without a row"])
def test_nobody_rescues_its_own_jobs(jobs, clock, worker, lost, row):
    if not row:
        worker.do(worker.queue.delete_worker())
    rescuer = Rescuer(worker.queue, LEASE)
    for _ in range(3):
        worker.do(rescuer.watch())
        clock.now += 1000
    assert jobs.get(lost.id)["status"] == "processing"


def test_a_dead_worker_without_jobs_is_removed(jobs, worker, other, watch, lost):
    worker.release(lost)
    watch(0)
    watch(45)
    assert jobs.workers() == {}


def test_only_the_silent_worker_is_rescued(jobs, runner, worker, other, watch):
    jobs.add()
    other.beat()
    alive = other.take()
    watch(0)
    other.beat()
    assert watch(45) == "queued"
    assert jobs.get(alive.id)["status"] == "processing"


def test_a_worker_that_comes_back_after_its_rescue_is_watched_from_the_beginning(jobs, watch, worker):
    watch(0)
    assert watch(45) == "queued"
    worker.beat(lease_seconds=LEASE)
    worker.take()
    assert [watch(seconds) for seconds in (46, 90.9)] == ["processing"] * 2
    assert watch(91) == "queued"
