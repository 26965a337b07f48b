"""What shows a row's UPDATE to a frontend: the publication, and what reads it."""

from consumer.doctor.finding import Findings, note, ok, wrong
from consumer.doctor.subject import TABLES, Subject
from consumer.preflight.published import refusal
from consumer.statements import query

RETAINED = 1024**3
"""Bytes of WAL that a slot may keep before it is worth a line."""


def publication(subject: Subject) -> Findings:
    """The tables are published, whole, with their updates."""
    subject.schema.get()
    found = subject.read_one("publication", {"tables": [*TABLES]})
    if not found["there"]:
        yield wrong("The publication supabase_realtime is gone: no frontend sees a change.", found["create"])
        return
    good = True
    if not (found["updates"] and found["inserts"]):
        good = False
        yield wrong(
            "The publication supabase_realtime leaves out inserts or updates.",
            "alter publication supabase_realtime set (publish = 'insert, update, delete, truncate');",
        )
    for table in found["missing"]:
        good = False
        yield wrong(
            f"The table {table} is not in the publication supabase_realtime: no frontend sees its changes.",
            f"alter publication supabase_realtime add table {table};",
        )
    for table in found["partly"]:
        good = False
        yield note(f"Only some rows or columns of {table} are published.", "select * from pg_publication_tables;")
    if good:
        yield ok("jobs, images and videos are published" + (", as all tables are." if found["all_tables"] else "."))


def replica_identity(subject: Subject) -> Findings:
    """Without an identity a published table refuses every UPDATE; a full one doubles what is written."""
    good = True
    for row in subject.read("replica_identity", {"tables": [*TABLES]}):
        default = f"alter table {row['relation']} replica identity default;"
        if not row["has_one"]:
            good = False
            yield wrong(
                f"The table {row['relation']} has no replica identity: once published, it refuses updates.", default
            )
        elif row["is_full"]:
            good = False
            yield note(f"The table {row['relation']} has REPLICA IDENTITY FULL, which writes every row twice.", default)
    with subject.transaction() as connection:
        for row in connection.execute(query("preflight/published")).fetchall():
            if row["what"] != "identity":
                good = False
                yield wrong(*refusal(**row))
    if good:
        yield ok("Each table is identified by its primary key.")


def wal(subject: Subject) -> Findings:
    """Realtime reads the WAL, which must hold what it needs."""
    found = subject.read_one("wal")
    if found["level"] == "logical":
        yield ok("wal_level is logical.")
    else:
        yield wrong(
            f"wal_level is {found['level']}, so Realtime sees no change.",
            "alter system set wal_level = logical; and restart the server (hosted projects have it).",
        )


def slots(subject: Subject) -> Findings:
    """Realtime's places in the WAL: lost ones show nothing any more, inactive ones fill the disk."""
    good, found = True, subject.read("slots")
    for slot in found:
        if slot["is_lost"]:
            good = False
            yield wrong(
                f"The replication slot {slot['name']} is lost: whoever reads it hears nothing.",
                f"select pg_drop_replication_slot('{slot['name']}'); its reader makes a new one.",
            )
        elif not slot["is_active"] or slot["retained"] > RETAINED:
            good = False
            state = "is behind" if slot["is_active"] else "is read by nobody"
            yield note(
                f"The replication slot {slot['name']} {state} and keeps {slot['retained'] // 1024**2} MiB of WAL.",
                f"Restart its reader; or, if nobody needs it, select pg_drop_replication_slot('{slot['name']}');",
            )
    if good:
        yield ok(
            f"{len(found)} logical slots, all read."
            if found
            else "No logical slot: Realtime makes one for its first subscriber."
        )


def broadcast(subject: Subject) -> Findings:
    """Broadcast, where it was turned on: who sends may send, and who listens may listen."""
    created = subject.created()
    if "broadcast" not in created:
        yield ok("Broadcast is not turned on; changes travel by the publication.")
        return
    found = subject.read_one("broadcast", {"tables": [*TABLES]})
    good = True
    for relation in found["silent"]:
        good = False
        yield wrong(f"The Broadcast triggers of {relation} are gone.", "consumer migrate broadcast")
    if not found["can_send"]:
        good = False
        yield wrong("The function realtime.send is gone: Broadcast sends nothing.", "Update the project's Realtime.")
    if not found["may_listen"]:
        good = False
        yield wrong("The policy on realtime.messages is gone: nobody may listen.", "consumer migrate broadcast")
    if good:
        yield ok("Broadcast is on: triggers, realtime.send and the policy on realtime.messages are there.")


CHECKS = (publication, replica_identity, wal, slots, broadcast)
