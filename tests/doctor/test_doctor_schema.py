"""What the doctor says of a schema that is not whole; and that its remedy mends it."""

from uuid import uuid4

import pytest

from consumer import migrate
from consumer.cli import main
from consumer.statements import HEAD
from jobs import Jobs
from patients import Patient
from postgres import Database

TWIN = "create unique index consumer_twin on public.jobs (job_type)"
UNIQUE = "images_job_id_image_index_key"
OLD_CHECK = "alter table public.jobs drop constraint jobs_status_check, add constraint jobs_status_check"
DROP_CHECK = "alter table public.videos drop constraint videos_status_check"
BROKEN: dict[str, tuple[str, str, str]] = {
    "a trigger dropped": (
        "drop trigger consumer_put_in_line on public.jobs",
        "schema.triggers",
        "The trigger consumer_put_in_line on public.jobs is gone.",
    ),
    "a constraint trigger dropped": (
        "drop trigger consumer_wake_idle_worker on public.jobs",
        "schema.triggers",
        "The trigger consumer_wake_idle_worker on public.jobs is gone.",
    ),
    "a trigger disabled": (
        "alter table public.images disable trigger consumer_make_room",
        "schema.triggers",
        "The trigger consumer_make_room on public.images is disabled.",
    ),
    "a trigger for replicas alone": (
        "alter table public.jobs enable replica trigger consumer_create_rows",
        "schema.triggers",
        "The trigger consumer_create_rows on public.jobs is disabled.",
    ),
    "an index dropped": (
        "drop index public.jobs_line_idx",
        "schema.indexes",
        "The index jobs_line_idx on public.jobs is gone.",
    ),
    "a unique index that is none": (
        f"drop index public.{UNIQUE}; create index {UNIQUE} on public.images (job_id, image_index)",
        "schema.indexes",
        "The index images_job_id_image_index_key on public.images is not unique.",
    ),
    "a CHECK without cancelled": (
        f"{OLD_CHECK} check (status in ('queued', 'processing', 'completed', 'failed'))",
        "schema.statuses",
        "The CHECK jobs_status_check on public.jobs refuses the status cancelled.",
    ),
    "a CHECK of a type of its own": (
        f"{DROP_CHECK}, add constraint only_new check (status like 'qu%')",
        "schema.statuses",
        "The CHECK only_new on public.videos refuses the status processing, completed, failed, cancelled.",
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


def test_an_index_whose_build_broke_off_is_invalid(patient: Patient) -> None:
    jobs = Jobs(patient.db)
    jobs.add(), jobs.add()
    with pytest.raises(Exception, match="could not create unique index"), patient.db.connect() as connection:
        connection.execute(TWIN.replace("index", "index concurrently"))
    [(status, message, remedy)] = patient.lines("schema.indexes")
    assert (status, message) == ("wrong", "The index consumer_twin on public.jobs is INVALID: its build broke off.")
    assert remedy == "reindex index concurrently public.consumer_twin;"


def test_a_function_that_is_gone(patient: Patient) -> None:
    patient.run("drop function public.cancel_job(uuid)")
    [(status, message, _)] = patient.lines("schema.functions")
    assert (status, message) == ("wrong", "The function public.cancel_job is gone.")


def test_a_database_that_was_never_migrated(dressed_db: Database) -> None:
    patient = Patient(dressed_db)
    assert patient.lines("schema.revision") == [
        ("wrong", f"The database is at revision none, and this version needs {HEAD}.", "consumer migrate up")
    ]
    for check in ("schema.triggers", "rights.grants", "health.unserved", "realtime.broadcast"):
        assert patient.lines(check) == [("skip", "The schema is not the one of this version.", None)]
    patient.close()


def test_a_database_that_is_a_revision_behind(patient: Patient) -> None:
    migrate.downgrade(patient.db.dsn, f"{int(HEAD) - 1:04}")
    # Whichever check comes first tells it.
    [(status, message, remedy)] = patient.lines("schema.triggers")
    assert status == "wrong"
    assert message == f"The database is at revision {int(HEAD) - 1:04}, and this version needs {HEAD}."
    assert remedy == "consumer migrate up"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "delete from consumer.job_types where job_type = 'sdxl_image_fast'",
            "The database does not know the job type sdxl_image_fast: no job of it runs.",
        ),
        (
            "update consumer.job_types set max_count = max_count + 1 where job_type like 'sdxl%'",
            "The database has other values for the job type sdxl_image_fast and 1 others than the TOML.",
        ),
    ],
)
def test_job_types_that_were_not_pushed(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, statement: str, message: str
) -> None:
    patient.run(statement)
    assert patient.lines("schema.job_types") == [("wrong", message, "consumer job-types push")]
    monkeypatch.setenv("DATABASE_URL", patient.db.dsn)
    assert main(["job-types", "push"]) == 0
    [(status, _, _)] = patient.lines("schema.job_types")
    assert status == "ok"


def test_parked_jobs_are_told(patient: Patient) -> None:
    jobs = Jobs(patient.db)
    ids = [jobs.add(), jobs.add()]
    patient.run("update public.jobs set engine = null, queue_at = null where id = any (%s)", ids)
    [(status, message, remedy)] = patient.lines("schema.parked")
    assert (status, message) == (
        "note",
        "2 jobs are parked: they were there before the queue and run when you say so.",
    )
    assert remedy == "consumer jobs list --parked"


def test_orphans_that_were_moved_are_told(patient: Patient) -> None:
    orphan = ("images", uuid4(), "{}", "no job")
    patient.run("insert into consumer.orphans (table_name, id, row, reason) values (%s, %s, %s, %s)", *orphan)
    [(status, message, remedy)] = patient.lines("schema.orphans")
    assert (status, message) == ("note", "1 rows that nobody would finish were moved to consumer.orphans.")
    assert remedy
    patient.run(remedy)


def test_a_second_place_for_results_that_came_later(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.run("create table public.workspace_assets (job_id uuid, asset_index integer)")
    patient.run("alter table public.workspace_assets owner to postgres")
    [(status, _, remedy)] = patient.lines("schema.sink")
    assert (status, remedy) == ("note", "consumer migrate down 0017 && consumer migrate up")
    migrate.downgrade(patient.db.dsn, "0017")
    migrate.upgrade(patient.db.dsn)
    [(status, message, _)] = patient.lines("schema.sink")
    assert (status, message) == ("ok", "Results go to images and videos, and to workspace_assets.")
