"""For how long a worker may trust that it still holds its jobs: a lease less an upload since the last heartbeat."""

import asyncio

import psycopg
import pytest

from consumer.queue import Queue
from jobs import Hands
from steps import Transaction

LEASE, UPLOAD = 45.0, 20.0


def test_trust_lasts_a_lease_less_an_upload_from_the_moment_the_heartbeat_was_sent(clock, trust):
    assert trust.remaining() == LEASE - UPLOAD
    clock.now += 30
    assert trust.remaining() == -5
    trust.confirm(clock.now - 3)
    assert trust.remaining() == LEASE - UPLOAD - 3


def test_a_beat_is_trusted_from_when_it_was_sent_and_not_from_its_reply(worker, leases, clock, trust):
    class Slow(Queue):
        async def heartbeat(self, *parameters):
            named = await super().heartbeat(*parameters)
            clock.now += 10
            return named

    leases.queue = Slow(worker.database, worker.id)
    worker.do(leases.beat())
    assert trust.remaining() == LEASE - UPLOAD - 10


def test_without_trust_an_upload_waits_for_the_next_confirmed_heartbeat(worker, leases, clock, trust):
    clock.now += 30

    async def story():
        waiting = asyncio.create_task(trust.wait())
        await asyncio.sleep(0)
        trust.confirm(clock.now - 100)
        await asyncio.sleep(0)
        assert not waiting.done()
        await leases.beat()
        await asyncio.wait_for(waiting, 10)

    worker.do(story())
    assert trust.remaining() == LEASE - UPLOAD


def test_a_heartbeat_that_did_not_arrive_is_not_trusted(runner, db, leases, clock, trust):
    connection = runner.run(psycopg.AsyncConnection.connect(db.dsn))
    runner.run(connection.close())
    away = Hands(runner, Transaction(connection))
    leases.queue = away.queue
    clock.now += 10

    with pytest.raises(psycopg.OperationalError):
        away.do(leases.beat())

    assert trust.remaining() == LEASE - UPLOAD - 10


def test_a_beat_is_not_trusted_until_every_lost_job_is_stopped(jobs, worker, leases, lease, clock, trust):
    class Interrupted(Queue):
        async def read_status(self, job):
            raise psycopg.OperationalError("the connection is lost")

    jobs.run("select public.cancel_job(%s)", lease.job.id)
    leases.queue = Interrupted(worker.database, worker.id)
    clock.now += 10

    with pytest.raises(psycopg.OperationalError):
        worker.do(leases.beat())

    assert trust.remaining() == LEASE - UPLOAD - 10
