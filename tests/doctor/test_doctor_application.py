"""What the doctor says of the application's own triggers and old grants."""

from collections.abc import Iterator

import psycopg
import pytest

import adopted
from jobs import Jobs
from patients import Patient
from postgres import Databases
from worker_login import worker_dsn

AUDIT = """
create table public.audit (id bigserial primary key, what text not null);
alter table public.audit enable row level security;
create policy signed_in on public.audit for insert to authenticated with check (true);
grant insert on public.audit to authenticated;
create function public.note_change() returns trigger language plpgsql as
$$ begin insert into public.audit (what) values (tg_op); return coalesce(new, old); end $$;
create trigger audited after insert or update or delete on public.jobs
for each row execute function public.note_change();
"""
LACKING = (
    "The trigger audited of public.jobs (note_change()) runs with the worker's rights, "
    "and consumer_worker may not insert into public.audit."
)
NONE = "No trigger of the application does what the worker's role may not."


@pytest.fixture
def worker(patient: Patient) -> Iterator[Patient]:
    """The same database, whose doctor logs in as the worker does."""
    with Patient(patient.db, database_url=worker_dsn(patient.db)) as worker:
        yield worker


def owned(worker: Patient, script: str) -> None:
    """The application makes something of its own."""
    with worker.db.connect() as connection:
        connection.execute(script.encode())


def update(worker: Patient) -> None:
    """What a worker's first heartbeat for a job does to its row."""
    with psycopg.connect(worker_dsn(worker.db)) as connection:
        connection.execute("update public.jobs set status = status")


@pytest.mark.parametrize("which", [0, 1], ids=["security definer", "the grants"])
def test_a_trigger_that_may_not_do_what_it_does_and_both_remedies(worker: Patient, which: int) -> None:
    owned(worker, AUDIT)
    Jobs(worker.db).add()
    [(status, message, remedy)] = worker.lines("rights.triggers")
    assert (status, message) == ("wrong", LACKING)
    assert remedy
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        update(worker)
    owned(worker, remedy.split(" or: ")[which])
    update(worker)
    assert worker.lines("rights.triggers") == [("ok", NONE, None)]


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ("revoke insert on public.audit from consumer_worker", "grant insert on table audit to consumer_worker;"),
        ("drop policy for_all on public.audit",
         "create policy consumer_worker on audit for insert to consumer_worker with check (true);"),
        ("revoke usage on sequence public.audit_id_seq from consumer_worker",
         "grant usage on sequence audit_id_seq to consumer_worker;"),
    ],
)  # fmt: skip
def test_each_right_that_is_missing_is_told_alone(worker: Patient, part: str, remedy: str) -> None:
    owned(worker, AUDIT + "create policy for_all on public.audit for insert with check (true);")
    owned(
        worker,
        "grant insert on public.audit to consumer_worker; grant usage on sequence audit_id_seq to consumer_worker",
    )
    assert worker.lines("rights.triggers") == [("ok", NONE, None)]
    owned(worker, part)
    [(status, _, told)] = worker.lines("rights.triggers")
    assert status == "wrong"
    assert told
    assert told.split(" or: ")[1] == remedy


def test_a_schema_that_is_closed_to_the_worker_and_a_table_that_is_read(worker: Patient) -> None:
    owned(worker, "create schema inner_life; create table inner_life.notes (n int)")
    owned(worker, AUDIT.replace("insert into public.audit (what) values (tg_op)", "perform from inner_life.notes"))
    [(status, message, remedy)] = worker.lines("rights.triggers")
    assert status == "wrong"
    assert message.endswith("and consumer_worker may not read inner_life.notes.")
    assert remedy
    owned(worker, remedy.split(" or: ")[1])
    assert {line[0] for line in worker.lines("rights.triggers")} <= {"ok", "note"}


def test_a_trigger_of_a_role_that_owns_all_lacks_nothing(patient: Patient) -> None:
    owned(patient, AUDIT)
    assert patient.lines("rights.triggers") == [("ok", NONE, None)]


@pytest.mark.parametrize(
    "body",
    [
        "execute format('insert into %I values (1)', tg_table_name || '_log')",
        "perform public.something(new.id)",
        "insert into somewhere_else values (1)",
        "update public.images set title = 'x' where job_id = new.id",
    ],
)
def test_what_the_source_does_not_tell_is_a_note(worker: Patient, body: str) -> None:
    owned(worker, AUDIT.replace("insert into public.audit (what) values (tg_op)", body))
    [(status, message, remedy)] = worker.lines("rights.triggers")
    assert status == "note"
    assert message.endswith("runs with the worker's rights: see that consumer_worker may do all that it does.")
    assert remedy == "alter function note_change() security definer set search_path = public, extensions, pg_temp;"


@pytest.mark.parametrize(
    "script",
    [
        AUDIT.replace("insert or update or delete", "delete"),
        AUDIT.replace("insert or update or delete", "insert or update of original_prompt"),
        AUDIT.replace("language plpgsql", "language plpgsql security definer"),
        AUDIT + "alter table public.jobs disable trigger audited;",
        AUDIT.replace("insert into public.audit (what) values (tg_op)",
                      "perform pg_notify('x', 'insert into public.audit'); /* delete from audit */ -- update audit"
                      "\n new.metadata := '{}'"),
    ],
    ids=["on delete", "of a column that no worker writes", "security definer", "disabled", "nothing of the kind"],
)  # fmt: skip
def test_what_is_in_no_worker_s_way_is_not_named(worker: Patient, script: str) -> None:
    owned(worker, script)
    assert worker.lines("rights.triggers") == [("ok", NONE, None)]


def test_a_trigger_with_a_condition_is_a_note(worker: Patient) -> None:
    owned(worker, AUDIT.replace("for each row execute", "for each row when (current_user = 'authenticated') execute")
          .replace("insert or update or delete", "update"))  # fmt: skip
    assert [line[:2] for line in worker.lines("rights.triggers")] == [("note", LACKING)]


def test_what_an_old_grant_of_all_left_and_its_remedy(databases: Databases) -> None:
    with adopted.adopted(databases) as db, Patient(db) as patient:
        found = patient.lines("rights.leftovers")
        assert {(status, message) for status, message, _ in found} == {
            ("note", f"{role} may truncate, trigger on public.{table}, which no call of the API needs.")
            for role in ("anon", "authenticated")
            for table in ("jobs", "images", "videos")
        }
        for _, _, remedy in found:
            assert remedy
            owned(patient, remedy)
        assert [line[0] for line in patient.lines("rights.leftovers")] == ["ok"]
