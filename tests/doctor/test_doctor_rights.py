"""What the doctor says of rights: too many for users, too few for the worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer import job_types, migrate
from consumer.doctor import expected
from consumer.doctor.rights import WORKER
from consumer.statements import PACKAGE, SQL
from patients import Patient
from postgres import Database, Databases

HIDDEN = "row level security holds, and no policy lets it through"
PLATFORM = Path(__file__).parents[1] / "database" / "generation_a.sql"

BROKEN: dict[str, tuple[str, str, str]] = {
    "row level security off": (
        "alter table public.images disable row level security",
        "rights.row_security",
        "Row level security is off on public.images.",
    ),
    "row level security off in our schema": (
        "alter table consumer.workers disable row level security",
        "rights.row_security",
        "Row level security is off on consumer.workers.",
    ),
    "a policy dropped": (
        "drop policy consumer_read_own on public.jobs",
        "rights.policies",
        "The policy consumer_read_own on public.jobs is gone.",
    ),
    "a restrictive policy dropped": (
        "drop policy consumer_guard_update on public.images",
        "rights.policies",
        "The policy consumer_guard_update on public.images is gone.",
    ),
    "the worker's policy dropped": (
        "drop policy consumer_worker on consumer.workers",
        "rights.policies",
        "The policy consumer_worker on consumer.workers is gone.",
    ),
    "anon may read": (
        "grant select on public.images to anon",
        "rights.grants",
        "anon may select on public.images.",
    ),
    "everybody may": (
        "grant all on public.jobs to anon",
        "rights.grants",
        "anon may select, insert, update, delete, truncate, references, trigger on public.jobs.",
    ),
    "users may update a column of the queue": (
        "grant update (queue_at) on public.jobs to authenticated",
        "rights.grants",
        "authenticated may update on public.jobs.",
    ),
    "users may not insert": (
        "revoke insert on public.jobs from authenticated",
        "rights.grants",
        "authenticated may not insert on public.jobs.",
    ),
    "anon may cancel": (
        "grant execute on function public.cancel_job(uuid) to anon",
        "rights.grants",
        "anon may call public.cancel_job(uuid).",
    ),
    "users may not retry": (
        "revoke execute on function public.retry_job(uuid) from authenticated",
        "rights.grants",
        "authenticated may not call public.retry_job(uuid).",
    ),
    "the schema is open": (
        "grant usage on schema consumer to authenticated",
        "rights.private",
        "authenticated may use the schema consumer.",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_told_and_the_remedy_mends_it(patient: Patient, what: str) -> None:
    statement, check, message = BROKEN[what]
    patient.run(statement)
    [(status, told, remedy)] = patient.lines(check)
    assert (status, told) == ("wrong", message)
    assert remedy
    patient.run(remedy)
    [(status, _, _)] = patient.lines(check)
    assert status == "ok"


@pytest.mark.parametrize("whose", ["role authenticator in database {db}", "database {db}"])
def test_a_schema_that_the_api_shows(patient: Patient, whose: str) -> None:
    whose = whose.format(db=patient.db.name)
    patient.run(f"alter {whose} set pgrst.db_schemas = 'public, consumer'")
    [(status, message, remedy)] = patient.lines("rights.private")
    assert (status, message) == ("wrong", "The API shows the schema consumer.")
    assert remedy
    assert "pgrst.db_schemas" in remedy
    patient.run(f"alter {whose} set pgrst.db_schemas = 'public, consumer_facing'")
    [(status, _, _)] = patient.lines("rights.private")
    assert status == "ok"


def test_a_schema_that_the_api_shows_in_another_database(patient: Patient, dressed_db: Database) -> None:
    patient.run(f"alter role authenticator in database {dressed_db.name} set pgrst.db_schemas = 'consumer'")
    assert [line[0] for line in patient.lines("rights.private")] == ["ok"]


def test_a_policy_of_somebody_else_on_our_table_is_a_note(patient: Patient) -> None:
    patient.run("create policy open_to_all on public.images for select using (true)")
    [(status, message, _)] = patient.lines("rights.policies")
    assert status == "note"
    assert message == "There are other policies on public.images; what one of them allows, ours cannot refuse."


@pytest.fixture
def worker(patient: Patient) -> Iterator[Patient]:
    """The same database, whose doctor works as consumer_worker."""
    as_worker = Patient(patient.db, database_role="consumer_worker")
    yield as_worker
    as_worker.close()


def test_the_worker_s_own_role_may_run_all_statements(worker: Patient) -> None:
    assert worker.lines("rights.worker") == [
        ("ok", f"The role consumer_worker may run all {len(WORKER)} statements of a worker.", None)
    ]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "revoke update (claim_id) on public.jobs from consumer_worker",
            "The role consumer_worker may not run claim_jobs.",
        ),
        (
            "revoke all on function consumer.pending_images(uuid[]) from consumer_worker",
            "The role consumer_worker may not run claim_jobs.",
        ),
        (
            "revoke all on consumer.workers from consumer_worker",
            "The role consumer_worker may not run heartbeat and 5 other statements.",
        ),
        (
            "revoke usage on sequence consumer.claim_ids from consumer_worker",
            "The role consumer_worker may not draw claim ids.",
        ),
        (
            "drop policy consumer_worker on public.videos",
            f"The role consumer_worker sees no row of public.videos: {HIDDEN}.",
        ),
    ],
)
def test_what_the_worker_s_role_lacks(worker: Patient, statement: str, message: str) -> None:
    worker.run(statement)
    [(status, told, remedy)] = worker.lines("rights.worker")
    assert (status, told) == ("wrong", message)
    assert remedy
    if remedy.endswith(";"):
        worker.run(remedy)
        [(status, _, _)] = worker.lines("rights.worker")
        assert status == "ok"


def test_every_statement_of_a_worker_is_tried() -> None:
    rooms = ("queue", "assets", "database", "rescue", "intake", "lease", "progress", "process", "worker", "listen")
    source = "".join((PACKAGE / f"{room}.py").read_text() for room in rooms)
    used = {path.stem for path in (SQL / "queries").glob("*.sql") if f'"{path.stem}"' in source}
    assert used | PER_MEDIUM == set(WORKER)


PER_MEDIUM = {"prepare_images", "prepare_videos", "pending_images", "pending_videos", "record_image", "record_video"}


def test_every_line_of_the_picture_is_understood() -> None:
    text = expected.picture()
    assert len(expected.triggers()) == text.count("TRIGGER consumer_") > 6
    assert len(expected.policies()) == text.count("CREATE POLICY ") > 3
    assert len(expected.indexes()) == text.count("INDEX ") - text.count("REPLICA IDENTITY USING INDEX") > 9
    assert len(expected.protected()) == text.count("ENABLE ROW LEVEL SECURITY") > 5
    assert set(expected.functions()) >= {"consumer.put_in_line", "public.cancel_job"}


def test_adopted_tables_keep_their_own_rights(databases: Databases) -> None:
    with databases.clone(databases.dressed) as db:
        adopt(db)
        patient = Patient(db)
        assert patient.lines("rights.grants") == [
            ("ok", "The tables are the application's, and its grants stay.", None)
        ]
        for check in ("rights.policies", "rights.row_security", "schema.triggers", "schema.indexes", "schema.statuses"):
            assert [status for status, _, _ in patient.lines(check)] == ["ok"], check
        patient.run("drop policy consumer_guard_insert on public.videos")
        [(status, message, _)] = patient.lines("rights.policies")
        assert (status, message) == ("wrong", "The policy consumer_guard_insert on public.videos is gone.")
        patient.run("alter table public.jobs disable trigger consumer_guard")
        [(status, message, _)] = patient.lines("schema.triggers")
        assert (status, message) == ("wrong", "The trigger consumer_guard on public.jobs is disabled.")
        patient.close()


def adopt(db: Database) -> None:
    """Move into a database that has the platform's tables."""
    with db.connect() as connection:
        connection.execute(PLATFORM.read_bytes())
    migrate.upgrade(db.dsn)
    migrate.push_job_types(db.dsn, job_types.load().values())
