"""The rescuer: a worker is dead when its heartbeat stood still for a whole lease of uninterrupted watch, no sooner."""

import pytest

from consumer.lease import DEAD_SECONDS, pace
from consumer.listen import LOCK_CLASS
from consumer.queue import Queue
from consumer.rescue import Rescuer
from jobs import Hands
from workers import eventually

LEASE = 45.0
KEY = 7


@pytest.fixture
def lost(jobs, worker):
    """A job whose worker has sent one heartbeat."""
    jobs.add()
    worker.beat(lease_seconds=LEASE)
    return worker.take()


@pytest.fixture
def watch(jobs, other, clock, lost):
    """Looks every few seconds, until so many after the beginning; returns the lost job's status then."""
    rescuer = Rescuer(other.queue, LEASE)
    begun = clock.now

    async def look():
        asked_at = clock.now
        left = await rescuer.judge(await rescuer.queue.heartbeat("the watcher", ("sketch",), LEASE, False), asked_at)
        await rescuer.watch()
        return left

    def watch(seconds):
        while True:
            watch.left = other.do(look())
            if clock.now == begun + seconds:
                return jobs.get(lost.id)["status"]
            clock.now = min(clock.now + pace(LEASE), begun + seconds)

    watch.rescuer = rescuer
    watch.once = lambda: other.do(look())
    return watch


def test_a_worker_is_rescued_after_a_whole_lease_without_a_heartbeat_and_no_sooner(watch):
    assert [watch(seconds) for seconds in (0, 20, 44.5)] == ["processing"] * 3
    assert watch(45) == "queued"


def test_one_look_rescues_nobody_however_old_the_heartbeat_is(jobs, watch, worker):
    jobs.run("update consumer.workers set heartbeat_at = now() - interval '1 day'")
    assert watch(0) == "processing"


def test_the_time_in_which_the_watcher_stood_still_itself_does_not_count(watch, clock):
    watch(0)
    clock.now += 100_000
    assert watch(100_000 + LEASE - 3 * pace(LEASE)) == "processing"
    assert watch(100_000 + LEASE) == "queued"


def test_a_heartbeat_begins_the_wait_anew(watch, worker):
    watch(0)
    watch(30)
    worker.beat(lease_seconds=LEASE)
    assert watch(74.5) == "processing"
    assert watch(75) == "queued"


def test_a_heartbeat_after_the_last_look_saves_the_worker(jobs, watch, worker, other, lost):
    watch(0)

    class Late(Queue):
        async def rescue_jobs(self, *parameters):
            await worker.queue.heartbeat("a worker", ("sketch",), LEASE, False)
            return await super().rescue_jobs(*parameters)

    watch.rescuer.queue = Late(other.database, other.id)
    assert watch(60) == "processing"


def test_forgetting_begins_every_wait_anew(watch):
    watch(0)
    watch(44)
    watch.rescuer.forget()
    assert watch(88.5) == "processing"
    assert watch(89) == "queued"


@pytest.mark.parametrize("lease", [10.0, 120.0])
def test_the_lost_workers_own_lease_counts(jobs, watch, lease):
    jobs.run("update consumer.workers set lease_seconds = %s", lease)
    watch(0)
    assert watch(lease - 0.5) == "processing"
    assert watch(lease) == "queued"


def test_a_worker_whose_row_vanished_is_rescued_after_the_watchers_lease(watch, worker):
    worker.do(worker.queue.delete_worker())
    watch(0)
    assert watch(44.5) == "processing"
    assert watch(45) == "queued"


def test_a_row_that_vanishes_begins_the_wait_anew(watch, worker):
    watch(40)
    worker.do(worker.queue.delete_worker())
    assert watch(84.5) == "processing"
    assert watch(85) == "queued"


def test_the_time_that_an_answer_took_does_not_count(jobs, watch, clock, other, lost):
    class Slow(Queue):
        async def heartbeat(self, *parameters):
            beats = await super().heartbeat(*parameters)
            clock.now += 30
            return beats

    watch.rescuer.queue = Slow(other.database, other.id)
    watch.once()
    for _ in range(22):
        clock.now += 2
        watch.once()
    assert jobs.get(lost.id)["status"] == "processing"
    clock.now += 2
    watch.once()
    assert jobs.get(lost.id)["status"] == "queued"


@pytest.mark.parametrize("row", [True, False], ids=["with a row", "without a row"])
def test_nobody_rescues_its_own_jobs(jobs, clock, worker, other, lost, row):
    if not row:
        worker.do(worker.queue.delete_worker())
    rescuer = Rescuer(worker.queue, LEASE)
    for _ in range(30):
        worker.do(rescuer.judge(other.beat(), clock.now))
        worker.do(rescuer.watch())
        clock.now += pace(LEASE)
    assert jobs.get(lost.id)["status"] == "processing"


def test_a_dead_worker_without_jobs_is_removed(jobs, worker, other, watch, lost):
    worker.release(lost)
    watch(0)
    watch(45)
    assert set(jobs.workers()) == {other.id}


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
    assert watch(89.5) == "processing"
    assert watch(90) == "queued"


def beat_unlocked(jobs, worker):
    """Send a heartbeat that names a lock, and let that be so long ago that the lock is looked at."""
    since = "select now() - interval '5 seconds' > pg_postmaster_start_time()"
    eventually(lambda: jobs.value(since), "the server is older than the last heartbeat")
    worker.do(worker.queue.heartbeat("a worker", ("sketch",), LEASE, False, KEY))
    # The server of these tests is older than that: its databases were migrated first.
    jobs.run("update consumer.workers set heartbeat_at = now() - interval '4 seconds' where id = %s", worker.id)


@pytest.fixture
def listening(db):
    """A connection that holds the lock, as that of the lost worker's listener does."""
    with db.connect() as connection:
        connection.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS, KEY))
        yield connection


def test_a_worker_whose_lock_is_free_is_rescued_after_five_seconds_and_no_sooner(jobs, watch, worker):
    beat_unlocked(jobs, worker)
    assert [watch(seconds) for seconds in (0, 4.5)] == ["processing"] * 2
    assert watch.left == 0.5
    assert watch(DEAD_SECONDS) == "queued"


def test_a_short_lease_is_not_lengthened_by_a_lock(jobs, watch, worker):
    beat_unlocked(jobs, worker)
    jobs.run("update consumer.workers set lease_seconds = 4")
    assert [watch(seconds) for seconds in (0, 3.5)] == ["processing"] * 2
    assert watch(4) == "queued"


def test_while_the_lock_is_held_the_lease_counts(jobs, watch, worker, listening):
    beat_unlocked(jobs, worker)
    assert [watch(seconds) for seconds in (0, 20, 44.5)] == ["processing"] * 3
    assert watch(45) == "queued"


def test_a_worker_that_named_no_lock_has_its_lease(jobs, watch):
    jobs.run("update consumer.workers set heartbeat_at = now() - interval '4 seconds'")
    assert [watch(seconds) for seconds in (0, 44.5)] == ["processing"] * 2


def test_a_lock_that_a_pooler_has_freed_makes_nobody_dead_whose_heartbeats_go_on(jobs, watch, worker):
    for seconds in range(0, 60, 4):
        beat_unlocked(jobs, worker)
        assert watch(seconds) == "processing"


def test_a_lock_that_is_free_for_a_moment_only_shortens_nothing(jobs, watch, worker, listening):
    beat_unlocked(jobs, worker)
    listening.execute("select pg_advisory_unlock_all()")
    watch(4)
    assert watch.left < DEAD_SECONDS
    listening.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS, KEY))
    assert watch(44.5) == "processing"
    assert watch(45) == "queued"


def test_a_lock_that_is_taken_after_the_last_look_saves_the_worker(jobs, watch, worker, other, listening):
    beat_unlocked(jobs, worker)
    listening.execute("select pg_advisory_unlock_all()")

    class Late(Queue):
        async def rescue_jobs(self, *parameters):
            listening.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS, KEY))
            return await super().rescue_jobs(*parameters)

    watch.rescuer.queue = Late(other.database, other.id)
    assert watch(10) == "processing"


def test_an_interrupted_watch_begins_the_five_seconds_anew(jobs, watch, worker):
    beat_unlocked(jobs, worker)
    watch(4)
    watch.rescuer.forget()
    assert watch(8.5) == "processing"
    assert watch(9) == "queued"


def test_a_row_that_somebody_has_locked_holds_up_no_other_rescue(jobs, db, watch, worker, lost):
    second = Hands(worker.runner, worker.database)
    second.beat(lease_seconds=LEASE)
    jobs.add()
    free = second.take()
    with db.connect(autocommit=False) as somebody:
        somebody.execute("select from public.jobs where id = %s for update", (lost.id,))
        watch(0)
        assert watch(LEASE + 5) == "processing"
        assert jobs.get(free.id)["status"] == "queued"
        somebody.rollback()
    assert watch(LEASE + 10) == "queued"
