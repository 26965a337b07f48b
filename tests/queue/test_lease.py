"""Leases: why a job in hand must stop, which claims nobody knows of, and for how long a worker may trust its own."""

import asyncio

import psycopg
import pytest

from consumer.errors import DrainingError, JobCancelledError, LeaseLostError
from consumer.lease import DEAD_SECONDS, Lease, pace
from consumer.queue import Queue

LEASE, UPLOAD = 45.0, 20.0


def test_a_held_job_goes_on_while_its_row_names_the_claim(worker, leases, lease):
    for _ in range(3):
        worker.do(leases.beat())
    lease.check()


def test_a_beat_tells_the_database_what_the_worker_is_and_whether_it_is_idle(jobs, worker, leases):
    leases.idle = True
    worker.do(leases.beat())
    row = jobs.workers()[worker.id]
    assert (row["name"], row["engines"], row["lease_seconds"]) == ("a worker", ["sketch"], LEASE)
    assert row["idle_since"] is not None


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("cancelled", JobCancelledError),
        ("rescued", LeaseLostError),
        ("rescued and claimed", LeaseLostError),
        ("released and claimed again", LeaseLostError),
        ("deleted", LeaseLostError),
    ],
)
def test_a_held_job_that_is_no_longer_ours_is_stopped_for_the_right_reason(
    jobs, worker, other, leases, lease, event, reason
):
    if event == "cancelled":
        jobs.run("select public.cancel_job(%s)", lease.job.id)
    elif event == "deleted":
        jobs.run("delete from public.jobs")
    elif event == "released and claimed again":
        worker.release(lease.job)
        worker.take()
    else:
        other.rescue(worker.id, None)
        if event == "rescued and claimed":
            other.take()

    worker.do(leases.beat())

    with pytest.raises(reason):
        lease.check()


def test_only_the_lost_job_is_stopped(jobs, worker, leases, lease):
    jobs.add()
    second = leases.add(worker.take())
    jobs.run("select public.cancel_job(%s)", lease.job.id)
    worker.do(leases.beat())
    assert lease.stopped is not None
    assert second.stopped is None


def test_a_job_whose_end_is_being_written_is_not_stopped(worker, leases, lease):
    lease.settled = True
    worker.fail(lease.job)
    worker.do(leases.beat())
    assert lease.stopped is None


def test_a_job_that_is_claimed_while_the_heartbeat_is_under_way_is_not_stopped(jobs, worker, leases):
    jobs.add()

    class Claiming(Queue):
        async def heartbeat(self, *parameters):
            named = await super().heartbeat(*parameters)
            [job] = await self.claim_jobs(["sketch"])
            leases.add(job)
            return named

    leases.queue = Claiming(worker.database, worker.id)
    worker.do(leases.beat())

    [lease] = leases.held.values()
    assert lease.stopped is None
    assert jobs.get(lease.job.id)["status"] == "processing"


def test_a_claim_whose_reply_was_lost_is_released_by_the_second_heartbeat(jobs, worker, leases):
    job_id = jobs.add()
    worker.take()

    worker.do(leases.beat())
    assert jobs.get(job_id)["status"] == "processing"

    worker.do(leases.beat())
    row = jobs.get(job_id)
    assert (row["status"], row["attempts"], row["worker_id"]) == ("queued", 0, None)
    assert row["queue_at"] == row["start_tag"]


def test_a_claim_whose_reply_arrives_between_two_heartbeats_is_kept(jobs, worker, leases):
    jobs.add()
    job = worker.take()
    worker.do(leases.beat())
    lease = leases.add(job)
    worker.do(leases.beat())
    worker.do(leases.beat())
    assert lease.stopped is None
    assert jobs.get(job.id)["status"] == "processing"


def test_another_lost_reply_for_the_same_job_is_waited_for_anew(jobs, worker, leases):
    job_id = jobs.add()
    first = worker.take()
    worker.do(leases.beat())
    worker.release(first)
    worker.take()
    worker.do(leases.beat())
    assert jobs.get(job_id)["status"] == "processing"
    worker.do(leases.beat())
    assert jobs.get(job_id)["status"] == "queued"


def test_a_notified_cancel_stops_the_job_that_it_names(leases, lease):
    leases.cancel(lease.job.user_id)
    lease.check()
    leases.cancel(lease.job.id)
    with pytest.raises(JobCancelledError):
        lease.check()


def test_the_first_reason_to_stop_counts(lease):
    lease.stop(DrainingError("The worker is going away."))
    lease.stop(LeaseLostError("The job is no longer held by this worker."))
    with pytest.raises(DrainingError):
        lease.check()


def test_who_waits_for_a_reason_to_stop_is_woken_by_it(worker, lease):
    async def story():
        waiting = asyncio.create_task(lease.wait_stopped())
        await asyncio.sleep(0)
        assert not waiting.done()
        lease.stop(DrainingError("The worker is going away."))
        await asyncio.wait_for(waiting, 10)

    worker.do(story())


def test_who_comes_after_a_reason_to_stop_does_not_wait(worker, lease):
    lease.stop(DrainingError("The worker is going away."))

    async def story():
        await asyncio.wait_for(lease.wait_stopped(), 10)
        lease.stop(LeaseLostError("The job is no longer held by this worker."))
        assert lease.stopping().done()
        with pytest.raises(DrainingError):
            await lease.hold(asyncio.sleep(3600))

    worker.do(story())


def test_an_ended_claim_leaves_the_later_claim_of_the_same_job_alone(leases, lease):
    again = leases.add(lease.job)
    leases.remove(lease)
    assert leases.held == {lease.job.id: again}
    leases.remove(again)
    assert leases.held == {}


def test_a_new_lease_has_no_reason_to_stop(jobs, worker):
    jobs.add()
    lease = Lease(worker.take())
    lease.check()
    assert lease.settled is False


def test_with_nothing_in_hand_a_heartbeat_need_not_compare(jobs, worker, leases):
    jobs.add()
    job = worker.take()
    for _ in range(3):
        worker.do(leases.beat(compare=False))
    assert jobs.get(job.id)["status"] == "processing"


def test_what_is_in_hand_is_always_compared(jobs, worker, leases, lease):
    jobs.run("select public.cancel_job(%s)", lease.job.id)
    worker.do(leases.beat(compare=False))
    assert isinstance(lease.stopped, JobCancelledError)


def test_a_heartbeat_that_names_a_lock_is_trusted_until_the_lock_may_have_cost_us_our_jobs(
    jobs, worker, leases, trust, clock
):
    leases.lock_key = lambda: 7
    worker.do(leases.beat())
    assert jobs.workers()[worker.id]["lock_key"] == 7
    assert trust.remaining() == DEAD_SECONDS
    leases.lock_key = lambda: None
    worker.do(leases.beat())
    assert jobs.workers()[worker.id]["lock_key"] is None
    assert trust.remaining() == LEASE - UPLOAD


def test_a_heartbeat_whose_reply_was_lost_may_have_named_the_lock(worker, leases, trust, clock):
    class Lossy(Queue):
        async def heartbeat(self, *parameters):
            await super().heartbeat(*parameters)
            raise psycopg.OperationalError("the connection is lost")

    worker.do(leases.beat())
    assert trust.remaining() == LEASE - UPLOAD
    leases.queue, leases.lock_key = Lossy(worker.database, worker.id), lambda: 7
    with pytest.raises(psycopg.OperationalError):
        worker.do(leases.beat())
    assert trust.remaining() == DEAD_SECONDS


def test_after_a_heartbeat_that_failed_or_was_slow_the_next_one_names_no_lock(jobs, worker, leases, trust, clock):
    class Slow(Queue):
        async def heartbeat(self, *parameters):
            beats = await super().heartbeat(*parameters)
            clock.now += pace(LEASE) + 1
            return beats

    def named():
        return jobs.workers()[worker.id]["lock_key"]

    leases.queue, leases.lock_key = Slow(worker.database, worker.id), lambda: 7
    worker.do(leases.beat())
    assert named() == 7
    worker.do(leases.beat())
    assert named() is None
    assert trust.remaining() == LEASE - UPLOAD - pace(LEASE) - 1
    leases.queue = worker.queue
    worker.do(leases.beat())
    assert named() is None
    worker.do(leases.beat())
    assert named() == 7
