"""What the doctor says of a database that is not well, and of jobs that nobody runs."""

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.pq import ExecStatus

from consumer import embedded
from consumer.database import Database as Connections
from consumer.doctor.examine import GROUPS
from consumer.queue import Queue
from consumer.rescue import Rescuer
from jobs import Jobs
from patients import Patient
from postgres import Database
from worker_login import worker_dsn
from workers import eventually

LOOKED_AT = ("connections", "schema", "rights", "realtime", "health")


def live_worker(patient: Patient, *job_types: str, silent_for: int = 0) -> object:
    """A worker's row, as its heartbeats leave it."""
    worker_id = uuid4()
    patient.run(
        "insert into consumer.workers (id, name, engines, job_types, lease_seconds, heartbeat_at)"
        " values (%s, 'w', '{}', %s, 45, now() - make_interval(secs => %s))",
        worker_id, [*job_types], silent_for,
    )  # fmt: skip
    return worker_id


@pytest.mark.parametrize("here", [3600.0, -3600.0])
def test_clocks_that_are_an_hour_apart(patient: Patient, here: float) -> None:
    [(status, message, remedy)] = patient.lines("health.clock", here=here)
    assert (status, message) == ("wrong", "The clocks of this machine and the database are 3600 seconds apart.")
    assert remedy
    [(status, _, _)] = patient.lines("health.clock")
    assert status == "ok"


def test_a_transaction_that_stays_open(patient: Patient) -> None:
    dsn = f"{patient.db.dsn}?application_name=report"
    with psycopg.connect(dsn) as connection:
        connection.execute("select 1")
        [(status, message, remedy)] = patient.lines("health.transactions", seconds=0)
        assert status == "wrong"
        assert message.startswith("A transaction of report has been open for ")
        assert message.endswith(" (idle in transaction).")
        assert remedy == f"select pg_terminate_backend({connection.info.backend_pid});"
        [(status, _, _)] = patient.lines("health.transactions")
        assert status == "ok"
        patient.run(remedy)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_transactions_that_this_role_may_not_see(patient: Patient) -> None:
    with psycopg.connect(patient.db.admin_dsn) as connection:
        connection.execute("select 1")
        found = patient.lines("health.transactions", seconds=0)
    assert ("note", "This role may not see the transactions of 1 other sessions.") in [line[:2] for line in found]


@pytest.fixture(scope="module")
def own_server() -> Iterator[Patient]:
    """A server whose settings differ; its own database is not migrated."""
    with embedded.start(settings={"fsync": "off", "max_prepared_transactions": "2"}) as server:
        patient = Patient(Database("postgres", server.dsn(user="supabase_admin")))
        yield patient
        patient.close()
        patient.db._opened.close()


def test_a_prepared_transaction_that_was_forgotten(own_server: Patient) -> None:
    with own_server.db.connect(own_server.db.admin_dsn) as connection:
        connection.execute("begin; select 1; prepare transaction 'it''s'")
    [(status, message, remedy)] = own_server.lines("health.prepared", seconds=0)
    assert status == "wrong"
    assert message.startswith("A prepared transaction has been left for ")
    assert remedy == "rollback prepared 'it''s';"
    own_server.run(remedy)
    [(status, _, _)] = own_server.lines("health.prepared", seconds=0)
    assert status == "ok"


def test_a_standby_that_holds_vacuum_back(own_server: Patient) -> None:
    """A standby's walreceiver, as far as it tells what it still reads."""
    with own_server.db.connect(own_server.db.admin_dsn) as connection:
        row = connection.execute("select txid_current(), pg_current_wal_flush_lsn()").fetchone()
        assert row
    own_server.run("select pg_create_physical_replication_slot('standby', true)")
    dsn = f"{own_server.db.admin_dsn}?application_name=away"
    standby = psycopg.pq.PGconn.connect(psycopg.conninfo.make_conninfo(dsn, replication="true").encode())
    try:
        assert (
            standby.exec_(f"START_REPLICATION SLOT standby PHYSICAL {row[1]}".encode()).status == ExecStatus.COPY_BOTH
        )
        standby.put_copy_data(struct.pack(">cQIIII", b"h", 0, row[0], 0, 0, 0))
        standby.flush()
        [(status, message, remedy)] = eventually(
            lambda: [line for line in own_server.lines("health.horizon") if line[0] == "note"], "the feedback is heard"
        )
        assert status == "note"
        assert message.startswith("The replication slot standby keeps rows that died ")
        assert remedy
    finally:
        standby.finish()
        with own_server.db.connect() as connection:
            active = "select from pg_replication_slots where active"
            eventually(lambda: connection.execute(active).fetchall() == [], "the standby is gone")
        own_server.run("select pg_drop_replication_slot('standby')")
    [(status, _, _)] = own_server.lines("health.horizon")
    assert status == "ok"


def test_dead_rows(patient: Patient) -> None:
    patient.run("alter table public.images set (autovacuum_enabled = off)")
    jobs = Jobs(patient.db)
    jobs.add(count=3)
    with patient.db.connect() as connection:
        for _ in range(3):
            connection.execute("update public.images set title = 'x'")
        connection.execute("select pg_stat_force_next_flush()")
    found = eventually(
        lambda: [line for line in patient.lines("health.dead_rows", least=9) if line[0] == "note"], "they are counted"
    )
    [(_, message, remedy)] = found
    assert message.startswith("public.images has 9 dead rows beside ")
    assert remedy == "vacuum public.images;"
    [(status, _, _)] = patient.lines("health.dead_rows")
    assert status == "ok"


def test_notifications_that_somebody_holds_up(patient: Patient) -> None:
    with patient.db.connect(autocommit=True) as listener:
        listener.execute("listen something")
        listener.execute("begin; select 1")
        patient.run("select pg_notify('something', repeat('x', 7000) || n) from generate_series(1, 20) n")
        [(status, message, remedy)] = patient.lines("health.notifications", most=0.0)
        assert status == "wrong"
        assert message.endswith("some session listens inside of a transaction.")
        assert remedy
        [(status, _, _)] = patient.lines("health.notifications")
        assert status == "ok"


def test_queued_jobs_that_nobody_serves(patient: Patient) -> None:
    jobs = Jobs(patient.db)
    jobs.add("sketch"), jobs.add("sketch")
    live_worker(patient, "sdxl_image_fast")
    live_worker(patient, "sketch", silent_for=91)
    [(status, message, remedy)] = patient.lines("health.unserved")
    assert (status, message) == ("wrong", "2 queued sketch: no live worker serves them.")
    assert remedy
    assert "consumer run" in remedy
    live_worker(patient, "sdxl_image_fast", "sketch")
    [(status, _, _)] = patient.lines("health.unserved")
    assert status == "ok"


def test_queued_jobs_of_a_type_that_the_queue_does_not_know(patient: Patient) -> None:
    jobs = Jobs(patient.db)
    jobs.insert("jobs", {"user_id": jobs.user, "job_type": "rv51_fast"})
    jobs.insert("jobs", {"user_id": jobs.user, "job_type": "\x1b[31mred"})
    assert [line[:2] for line in patient.lines("health.unserved")] == [
        ("note", "1 queued of an odd job type: the queue does not know this job type and leaves it alone."),
        ("note", "1 queued rv51_fast: the queue does not know this job type and leaves it alone."),
    ]


def test_a_job_that_waits_for_long(patient: Patient) -> None:
    jobs = Jobs(patient.db)
    jobs.set(jobs.add("sketch"), created_at="2026-01-01 00:00:00+00")
    jobs.add("sketch")
    [(status, message, _)] = patient.lines("health.waiting")
    assert status == "note"
    assert message.startswith("2 jobs wait for the engine sketch, the oldest for ")
    assert message.endswith(" days.")


def test_jobs_that_a_dead_worker_holds(patient: Patient) -> None:
    dead, living = live_worker(patient, "sketch", silent_for=91), live_worker(patient, "sketch")
    jobs = Jobs(patient.db)
    for worker_id in (dead, living, uuid4()):
        jobs.set(jobs.add("sketch"), status="processing", worker_id=worker_id, queue_at=None)
    assert [line[:2] for line in patient.lines("health.workers")] == [
        ("wrong", "2 jobs are held by workers that are gone."),
        ("note", "1 workers went silent; the next live worker clears them away."),
    ]


def test_jobs_that_nobody_is_named_to_hold_and_the_remedy(patient: Patient) -> None:
    jobs = Jobs(patient.db)
    lost = jobs.add("sketch")
    jobs.set(lost, status="processing", worker_id=None, queue_at=None)
    parked = jobs.insert("jobs", {"user_id": jobs.user, "job_type": "rv51_fast"})
    jobs.set(parked, status="processing", worker_id=None)
    [(status, message, remedy)] = patient.lines("health.workers")
    assert (status, message) == ("wrong", "1 jobs are processing, and no worker is named that holds them.")
    assert remedy
    patient.run(remedy.partition(" then ")[0])
    asyncio.run(rescue(patient, lambda: jobs.get(lost)["status"] == "queued"))
    assert (jobs.get(lost)["status"], jobs.get(parked)["status"]) == ("queued", "processing")
    assert [line[0] for line in patient.lines("health.workers")] == ["ok"]


async def rescue(patient: Patient, done: Callable[[], bool]) -> None:
    """What a live worker does: it looks now and then, and acts after a lease."""
    connections = Connections(patient.db.dsn, size=1)
    await connections.open()
    try:
        rescuer = Rescuer(Queue(connections, uuid4()), 1.0)
        async with asyncio.timeout(20):
            while not done():
                await rescuer.watch()
                await asyncio.sleep(0.1)
    finally:
        await connections.close()


def test_a_statement_that_takes_too_long(patient: Patient) -> None:
    with psycopg.connect(patient.db.dsn) as connection:
        connection.execute("lock table consumer.workers")
        before = time.monotonic()
        [(status, message, _)] = patient.lines("health.workers")
        assert time.monotonic() - before < 10
    assert (status, message) == ("wrong", "The database took too long to answer.")
    # And the doctor goes on.
    [(status, _, _)] = patient.lines("health.workers")
    assert status == "ok"


def test_the_worker_s_own_role_may_not_look_at_everything(patient: Patient) -> None:
    with Patient(patient.db, database_url=worker_dsn(patient.db)) as worker:
        checks = [f"{name}.{check.__name__}" for name in LOOKED_AT for check in GROUPS[name].each]
        found = {check: worker.lines(check) for check in checks}
    skipped = ("skip", "This role may not look: run the doctor once with a DATABASE_URL of postgres.", None)
    assert {check for check, lines in found.items() if lines == [skipped]} == {
        "schema.orphans", "rights.policies", "rights.grants", "rights.leftovers", "realtime.broadcast",
    }  # fmt: skip
    assert {line[0] for lines in found.values() for line in lines} <= {"ok", "note", "skip"}
