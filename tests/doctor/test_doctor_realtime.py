"""What the doctor says of Realtime: what is published, by what it is told apart, and what reads it."""

import pytest

from consumer import embedded, migrate
from patients import Patient
from postgres import Database

IDENTITY = "alter table public.videos replica identity"
BROKEN: dict[str, tuple[str, str, str, str]] = {
    "no publication": (
        "drop publication supabase_realtime",
        "realtime.publication",
        "wrong",
        "The publication supabase_realtime is gone: no frontend sees a change.",
    ),
    "a table is not published": (
        "alter publication supabase_realtime drop table public.images",
        "realtime.publication",
        "wrong",
        "The table public.images is not in the publication supabase_realtime: no frontend sees its changes.",
    ),
    "updates are left out": (
        "alter publication supabase_realtime set (publish = 'insert')",
        "realtime.publication",
        "wrong",
        "The publication supabase_realtime leaves out inserts or updates.",
    ),
    "no replica identity": (
        f"{IDENTITY} nothing",
        "realtime.replica_identity",
        "wrong",
        "The table public.videos has no replica identity: once published, it refuses updates.",
    ),
    "a full replica identity": (
        f"{IDENTITY} full",
        "realtime.replica_identity",
        "note",
        "The table public.videos has REPLICA IDENTITY FULL, which writes every row twice.",
    ),
    "a publication that has updates refused": (
        "create publication other for table public.jobs (status)",
        "realtime.replica_identity",
        "wrong",
        (
            "The publication other lists columns of public.jobs and leaves out some of what tells its rows apart: "
            "Postgres refuses every UPDATE of it."
        ),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_told_and_the_remedy_mends_it(patient: Patient, what: str) -> None:
    statement, check, status, message = BROKEN[what]
    patient.run(statement)
    [(found, told, remedy)] = patient.lines(check)
    assert (found, told) == (status, message)
    assert remedy
    patient.run(remedy)
    [(found, _, _)] = patient.lines(check)
    assert found == "ok"


def test_a_part_of_a_table_is_published(patient: Patient) -> None:
    patient.run("alter publication supabase_realtime set table public.jobs (id, status), public.images, public.videos")
    [(status, message, _)] = patient.lines("realtime.publication")
    assert (status, message) == ("note", "Only some rows or columns of public.jobs are published.")


def test_a_publication_of_all_tables_has_ours(patient: Patient) -> None:
    patient.run("drop publication supabase_realtime")
    patient.run("create publication supabase_realtime for all tables")
    assert patient.lines("realtime.publication") == [
        ("ok", "jobs, images and videos are published, as all tables are.", None)
    ]


def test_a_slot_that_nobody_reads(patient: Patient) -> None:
    slot = f"doctor_{patient.db.name}"
    patient.run(f"select pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    try:
        [(status, message, remedy)] = patient.lines("realtime.slots")
    finally:
        patient.run(f"select pg_drop_replication_slot('{slot}')")
    assert status == "note"
    assert message.startswith(f"The replication slot {slot} is read by nobody and keeps ")
    assert remedy
    assert f"pg_drop_replication_slot('{slot}')" in remedy


def test_a_slot_that_was_lost_and_a_wal_that_tells_too_little() -> None:
    small = {"fsync": "off", "max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "wal_keep_size": "0"}
    with embedded.start(settings=small) as server:
        patient = Patient(Database("postgres", server.dsn(user="supabase_admin")))
        patient.run("select pg_create_logical_replication_slot('forgotten', 'pgoutput')")
        for _ in range(3):
            patient.run("select pg_switch_wal()")
            patient.run("create table if not exists public.filler (n int); insert into public.filler values (1)")
        patient.run("checkpoint")
        [(status, message, remedy)] = patient.lines("realtime.slots")
        assert (status, message) == ("wrong", "The replication slot forgotten is lost: whoever reads it hears nothing.")
        assert remedy
        patient.run("select pg_drop_replication_slot('forgotten')")
        patient.run("alter system set wal_level = 'replica'")
        patient.close()
        patient.db._opened.close()
        server._settings = {**server._settings, "wal_level": "replica"}
        server.restart()
        patient = Patient(Database("postgres", server.dsn(user="supabase_admin")))
        [(status, message, _)] = patient.lines("realtime.wal")
        assert (status, message) == ("wrong", "wal_level is replica, so Realtime sees no change.")
        patient.close()


BROADCAST = "realtime.broadcast"


def test_broadcast_where_it_was_turned_on(patient: Patient) -> None:
    assert patient.lines(BROADCAST) == [("ok", "Broadcast is not turned on; changes travel by the publication.", None)]
    migrate.broadcast(patient.db.dsn, "up")
    [(status, _, _)] = patient.lines(BROADCAST)
    assert status == "ok"
    patient.run("drop trigger consumer_broadcast_update on public.images")
    patient.run("drop policy consumer_read_own_topic on realtime.messages")
    assert patient.lines(BROADCAST) == [
        ("wrong", "The Broadcast triggers of public.images are gone.", "consumer migrate broadcast"),
        ("wrong", "The policy on realtime.messages is gone: nobody may listen.", "consumer migrate broadcast"),
    ]
    migrate.broadcast(patient.db.dsn, "up")
    patient.run("alter table public.jobs disable trigger consumer_broadcast_insert")
    [(status, message, _)] = patient.lines("schema.triggers")
    assert (status, message) == ("wrong", "The trigger consumer_broadcast_insert on public.jobs is disabled.")
    patient.run("drop function realtime.send(jsonb, text, text, boolean)")
    [(status, message, _)] = patient.lines(BROADCAST)
    assert (status, message) == ("wrong", "The function realtime.send is gone: Broadcast sends nothing.")
