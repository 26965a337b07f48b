"""heartbeat, held_jobs, watch_workers, rescue_jobs, mark_idle and delete_worker: who lives, and what of the dead."""

from collections.abc import Iterator

import psycopg
import pytest

from consumer.listen import LOCK_CLASS
from consumer.queue import WORKER_LOST
from jobs import Hands
from postgres import relogin
from workers import eventually

KEY = 2**31 - 1


@pytest.fixture
def lost(worker, started):
    """A job in a dead worker's hands."""
    worker.beat()
    return started


def test_the_first_heartbeat_introduces_the_worker(jobs, worker):
    assert worker.beat(lease_seconds=30) == []
    row = jobs.workers()[worker.id]
    assert (row["name"], row["engines"], row["lease_seconds"]) == ("a worker", ["sketch"], 30)
    assert (row["beats"], row["idle_since"]) == (0, None)


def test_every_further_heartbeat_counts(jobs, worker):
    worker.beat()
    first = jobs.workers()[worker.id]
    worker.beat()
    worker.beat()
    row = jobs.workers()[worker.id]
    assert row["beats"] == 2
    assert row["heartbeat_at"] > first["heartbeat_at"]
    assert row["started_at"] == first["started_at"]


def test_the_database_tells_what_a_worker_holds_and_nothing_else(jobs, worker, other):
    for _ in range(4):
        jobs.add()
    mine = [worker.take(), worker.take()]
    other.take()
    worker.release(worker.take())
    assert worker.do(worker.queue.held_jobs()) == {(job.id, job.claim_id) for job in mine}


@pytest.mark.parametrize("end", ["complete", "retry", "fail", "release", "cancel"])
def test_a_job_that_has_ended_is_held_no_more(jobs, worker, end):
    job_id = jobs.add()
    job = worker.take()
    worker.record(job)
    if end == "cancel":
        jobs.run("select public.cancel_job(%s)", job_id)
    else:
        getattr(worker, end)(job)
    assert worker.do(worker.queue.held_jobs()) == set()


def test_a_heartbeat_does_not_touch_the_jobs_row(jobs, worker):
    job_id = jobs.add()
    worker.take()
    version = jobs.value("select xmin::text || ctid::text from public.jobs where id = %s", job_id)
    worker.beat()
    assert jobs.value("select xmin::text || ctid::text from public.jobs where id = %s", job_id) == version


def test_idleness_is_kept_from_its_beginning_until_there_is_work(jobs, worker):
    worker.beat(idle=True)
    since = jobs.workers()[worker.id]["idle_since"]
    assert since is not None
    worker.beat(idle=True)
    worker.do(worker.queue.mark_idle())
    assert jobs.workers()[worker.id]["idle_since"] == since
    jobs.add()
    worker.take()
    assert jobs.workers()[worker.id]["idle_since"] is None
    worker.do(worker.queue.mark_idle())
    assert jobs.workers()[worker.id]["idle_since"] > since


def test_leaving_removes_the_worker_and_nobody_else(jobs, worker, other):
    worker.beat()
    other.beat()
    worker.do(worker.queue.delete_worker())
    assert set(jobs.workers()) == {other.id}


def test_a_heartbeat_tells_of_every_worker_that_was_there_before(worker, other):
    worker.beat()
    other.beat(lease_seconds=7)
    other.beat(lease_seconds=7)
    assert {(beat.worker_id, beat.beats, beat.lease_seconds) for beat in worker.beat()} == {
        (worker.id, 0, 45.0),
        (other.id, 1, 7.0),
    }


def test_the_watch_names_a_worker_without_a_row_once_for_all_of_its_jobs(jobs, worker, other):
    for _ in range(3):
        jobs.add()
    worker.take()
    worker.take()
    assert [(beat.worker_id, beat.beats) for beat in other.do(other.queue.watch_workers())] == [(worker.id, None)]


def test_a_rescued_job_is_in_line_again_at_its_old_place(jobs, worker, other, lost):
    later = jobs.add()

    assert other.rescue(worker.id, 0) == [(lost.id, "queued")]

    row = jobs.get(lost.id)
    assert (row["status"], row["worker_id"], row["attempts"], row["available_at"]) == ("queued", None, 1, None)
    assert (row["completed_at"], row["error_message"]) == (None, None)
    assert row["queue_at"] == row["start_tag"] is not None
    assert [other.take().id for _ in range(2)] == [lost.id, later]


def test_a_rescue_is_kept_in_the_jobs_history(jobs, worker, other, lost):
    other.rescue(worker.id, 0)
    [error] = jobs.get(lost.id)["errors"]
    assert error.pop("at") is not None
    assert error == {"attempt": 1, "worker": str(worker.id), "type": "WorkerLost", "message": WORKER_LOST}


def test_a_rescued_jobs_rows_wait_with_it_and_finished_ones_stay(jobs, worker, other, lost):
    recorded = jobs.images(lost.id)[0]
    other.rescue(worker.id, 0)
    images = jobs.images(lost.id)
    assert [(image["status"], image["progress"]) for image in images[1:]] == [("queued", None), ("queued", None)]
    assert images[0] == recorded


def test_only_what_was_not_recorded_is_pending_for_the_next_worker(jobs, worker, other, lost):
    other.rescue(worker.id, 0)
    job = other.take()
    assert other.do(other.assets.pending(job, "image", 3)) == [1, 2]
    assert job.metadata["seed"] == lost.metadata["seed"]


def test_a_job_that_was_lost_in_its_last_attempt_fails_with_its_rows(jobs, worker, other, lost):
    recorded = jobs.images(lost.id)[0]
    jobs.set(lost.id, max_attempts=1)

    assert other.rescue(worker.id, 0) == [(lost.id, "failed")]

    row, images = jobs.get(lost.id), jobs.images(lost.id)
    assert (row["status"], row["worker_id"], row["queue_at"], row["error_message"]) == (
        "failed",
        None,
        None,
        WORKER_LOST,
    )
    assert row["completed_at"] is not None
    assert images[0] == recorded
    assert [(image["status"], image["error_message"]) for image in images[1:]] == [("failed", WORKER_LOST)] * 2


@pytest.mark.parametrize(("last", "status"), [(False, "queued"), (True, "failed")])
def test_a_rescued_videos_row_goes_with_its_job(jobs, worker, other, last, status):
    job_id = jobs.add("video_fast", **({"max_attempts": 1} if last else {}))
    job = worker.take("video_fast")
    worker.progress(job, 30, {0: 30})
    assert other.rescue(worker.id, None) == [(job_id, status)]
    [video] = jobs.videos(job_id)
    assert (video["status"], video["progress"]) == (status, None)


@pytest.mark.parametrize(("tries", "status"), [(1, "failed"), (2, "queued")])
def test_a_job_without_a_limit_of_its_own_has_the_rescuers(jobs, runner, database, worker, lost, tries, status):
    rescuer = Hands(runner, database, tries=tries)
    assert rescuer.rescue(worker.id, 0) == [(lost.id, status)]


def test_all_of_a_dead_workers_jobs_are_rescued_and_nobody_elses(jobs, worker, other, lost):
    jobs.add()
    jobs.add()
    second, alive = worker.take(), other.take()
    assert {job_id for job_id, _ in other.rescue(worker.id, 0)} == {lost.id, second.id}
    assert jobs.get(alive.id)["worker_id"] == other.id


def test_a_rescue_removes_the_dead_worker(jobs, worker, other, lost):
    other.beat()
    other.rescue(worker.id, 0)
    assert set(jobs.workers()) == {other.id}


def test_a_worker_that_has_sent_a_heartbeat_since_is_not_rescued(jobs, worker, other, lost):
    worker.beat()
    before = jobs.rows(lost.id)
    assert other.rescue(worker.id, 0) == []
    assert jobs.rows(lost.id) == before
    assert worker.id in jobs.workers()


def test_a_worker_that_has_a_row_again_is_not_rescued_as_one_without(jobs, worker, other, lost):
    before = jobs.rows(lost.id)
    assert other.rescue(worker.id, None) == []
    assert jobs.rows(lost.id) == before


def test_a_worker_whose_row_vanished_is_rescued(jobs, worker, other, lost):
    worker.do(worker.queue.delete_worker())
    assert other.rescue(worker.id, None) == [(lost.id, "queued")]


def test_a_rescue_tells_the_workers_that_listen(db, worker, other, lost):
    listener = db.connect()
    listener.execute("listen consumer_jobs")
    other.rescue(worker.id, 0)
    assert [notify.payload for notify in listener.notifies(timeout=10, stop_after=1)] == [""]


def test_a_rescue_that_only_fails_jobs_wakes_nobody(jobs, db, worker, other, lost):
    jobs.set(lost.id, max_attempts=1)
    listener = db.connect()
    listener.execute("listen consumer_jobs")
    other.rescue(worker.id, 0)
    jobs.run("select pg_notify('consumer_jobs', 'the next')")
    assert [notify.payload for notify in listener.notifies(timeout=10, stop_after=1)] == ["the next"]


def name_lock(jobs, hands, key=KEY, silent_for="4 seconds"):
    """Send a heartbeat that names a lock, and let that be so long ago, as the database sees it."""
    hands.do(hands.queue.heartbeat("a worker", ("sketch",), 45.0, False, key))
    if silent_for == "4 seconds":
        since = "select now() - interval '4 seconds' > pg_postmaster_start_time()"
        eventually(lambda: jobs.value(since), "the server is older than that")
    jobs.run("update consumer.workers set heartbeat_at = now() - %s::interval where id = %s", silent_for, hands.id)


@pytest.fixture
def listening(db) -> Iterator[psycopg.Connection]:
    """A connection that holds the lock, as that of a worker's listener does."""
    with db.connect() as connection:
        assert connection.execute("select pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, KEY)).fetchone() == (True,)
        yield connection


def unlocked(hands, worker):
    """What the look of another worker says of this one's lock."""
    [beat] = [beat for beat in hands.beat() if beat.worker_id == worker.id]
    return beat.unlocked


def test_a_silent_worker_whose_lock_is_free_is_unlocked(jobs, worker, other, listening):
    name_lock(jobs, worker)
    assert not unlocked(other, worker)
    listening.close()
    eventually(lambda: unlocked(other, worker), "the lock has gone with its connection")


def test_a_lock_is_known_by_both_of_its_keys_and_its_database(jobs, db, worker, other, listening):
    name_lock(jobs, worker, KEY - 1)
    assert unlocked(other, worker)
    listening.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS + 1, KEY - 1))
    listening.execute("select pg_advisory_lock(%s)", (LOCK_CLASS << 32 | KEY - 1,))
    with psycopg.connect(relogin(db.dsn, database="postgres")) as elsewhere:
        elsewhere.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS, KEY - 1))
        assert unlocked(other, worker)
    listening.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS, KEY - 1))
    assert not unlocked(other, worker)


def test_only_a_worker_that_named_a_lock_and_is_silent_is_unlocked(jobs, worker, other):
    name_lock(jobs, worker, key=None)
    assert not unlocked(other, worker)
    name_lock(jobs, worker, silent_for="0 seconds")
    assert not unlocked(other, worker)


def test_nobody_is_unlocked_whose_last_heartbeat_came_before_the_server_was_started(jobs, worker, other):
    name_lock(jobs, worker)
    jobs.run("update consumer.workers set heartbeat_at = pg_postmaster_start_time() - interval '1 ms'")
    assert not unlocked(other, worker)


def test_a_heartbeat_without_a_lock_takes_the_name_of_the_last_one_away(jobs, worker):
    name_lock(jobs, worker)
    assert jobs.workers()[worker.id]["lock_key"] == KEY
    worker.beat()
    assert jobs.workers()[worker.id]["lock_key"] is None


def test_an_unlocked_worker_is_not_rescued_once_its_lock_is_held_again(jobs, worker, other, started, listening):
    name_lock(jobs, worker)
    before = jobs.rows(started.id)
    assert other.do(other.queue.rescue_jobs(worker.id, 0, True)) == []
    assert jobs.rows(started.id) == before
    assert worker.id in jobs.workers()
    listening.execute("select pg_advisory_unlock_all()")
    assert other.do(other.queue.rescue_jobs(worker.id, 0, True)) == [(started.id, "queued")]


def test_a_held_lock_keeps_nobody_whose_lease_is_over(jobs, worker, other, started, listening):
    name_lock(jobs, worker)
    assert other.rescue(worker.id, 0) == [(started.id, "queued")]
