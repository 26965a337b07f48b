"""A revision that failed half-way is run again, and ends as if nothing had happened."""

import psycopg
import pytest

from consumer import migrate, statements
from consumer.errors import DatabaseRefusedError, UsageError
from postgres import Database, Databases
from stages import Stage, state


def fail_everywhere(db: Database, lines: list[str]) -> None:
    """Run a revision by hand again and again, and each time let it fail one statement later than before.

    Each statement is for good, as if it had a transaction of its own.
    """
    with psycopg.connect(db.dsn, autocommit=True) as connection:
        for last in range(1, len(lines) + 1):
            for line in lines[:last]:
                connection.execute(line.encode())
            connection.execute("reset all")


def test_a_revision_that_broke_off_after_any_statement_is_finished(stage: Stage, databases: Databases) -> None:
    with databases.clone(stage.before.name) as db:
        fail_everywhere(db, stage.statements("up"))
        migrate.upgrade(db.dsn, stage.revision)
        assert state(db) == stage.state_after


def test_a_way_back_that_broke_off_after_any_statement_is_finished(stage: Stage, databases: Databases) -> None:
    with databases.clone(stage.after.name) as db:
        fail_everywhere(db, stage.statements("down"))
        assert migrate.current(db.dsn) == stage.revision
        migrate.downgrade(db.dsn, stage.state_before.revision)
        assert state(db) == stage.state_before


STEP_BY_STEP = [number for number, _ in migrate.history() if not statements.migration(number, "up")[1]]


@pytest.mark.parametrize("revision", STEP_BY_STEP)
def test_a_way_up_that_broke_off_after_any_statement_is_taken_back(
    stages: dict[str, Stage], databases: Databases, revision: str
) -> None:
    """Its statements are for good, and no revision says so."""
    stage = stages[revision]
    below, lines = stage.state_before.revision, stage.statements("up")
    with databases.clone(stage.before.name) as db:
        for last in range(len(lines) + 1):
            with psycopg.connect(db.dsn, autocommit=True) as connection:
                for line in lines[:last]:
                    connection.execute(line.encode())
            migrate.downgrade(db.dsn, below)
            assert state(db) == stage.state_before, f"after {last} of {len(lines)} statements"
        with psycopg.connect(db.dsn, autocommit=True) as connection:
            for line in lines:
                connection.execute(line.encode())
        migrate.downgrade(db.dsn, "base")
        assert state(db) == stages["0001"].state_before


def test_a_way_back_to_a_revision_that_is_above_takes_nothing_back(
    stages: dict[str, Stage], databases: Databases
) -> None:
    stage = stages["0003"]
    with databases.clone(stage.before.name) as db, psycopg.connect(db.dsn, autocommit=True) as connection:
        for line in stage.statements("up"):
            connection.execute(line.encode())
        with pytest.raises(UsageError):
            migrate.downgrade(db.dsn, "0005")
        assert state(db).schema == stage.state_after.schema


INDEXES = [
    ("0003", "images", "images_job_id_image_index_key"),
    ("0004", "videos", "videos_job_id_image_index_key"),
    ("0006", "jobs", "jobs_claim_idx"),
    ("0006", "jobs", "jobs_due_idx"),
    ("0006", "jobs", "jobs_worker_idx"),
    ("0006", "jobs", "jobs_user_id_created_at_idx"),
    ("0006", "jobs", "jobs_image_id_idx"),
    ("0006", "jobs", "jobs_video_id_idx"),
    ("0019", "jobs", "jobs_line_idx"),
    ("0019", "jobs", "jobs_user_tag_idx"),
    ("0019", "jobs", "jobs_user_queue_idx"),
    ("0019", "jobs", "jobs_held_idx"),
    ("0019", "jobs", "jobs_idempotency_key_idx"),
    ("0006", "images", "images_user_id_created_at_idx"),
    ("0006", "videos", "videos_user_id_created_at_idx"),
]


@pytest.mark.parametrize(("revision", "table", "index"), INDEXES, ids=[index for *_, index in INDEXES])
def test_an_invalid_index_that_a_failed_build_left_is_built_anew(
    stages: dict[str, Stage], databases: Databases, revision: str, table: str, index: str
) -> None:
    stage = stages[revision]
    with databases.clone(stage.before.name) as db, psycopg.connect(db.dsn, autocommit=True) as connection:
        user = db.user()
        job_type = {"job_type": "sketch"} if table == "jobs" else {}
        columns = ", ".join(["user_id", *job_type])
        values = ", ".join(["%s"] * (1 + len(job_type)))
        twins = f"insert into public.{table} ({columns}) select {values} from generate_series(1, 2)"
        connection.execute(twins.encode(), [user, *job_type.values()])
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(f"create unique index concurrently {index} on public.{table} (user_id)".encode())
        valid = f"select indisvalid from pg_index where indexrelid = 'public.{index}'::regclass".encode()
        assert connection.execute(valid).fetchone() == (False,)

        migrate.upgrade(db.dsn, revision)

        assert connection.execute(valid).fetchone() == (True,)
        connection.execute(f"delete from public.{table}".encode())
        assert state(db) == stage.state_after


@pytest.mark.parametrize(("revision", "table", "index"), INDEXES, ids=[index for *_, index in INDEXES])
def test_an_index_of_the_application_by_the_same_name_stays(
    stages: dict[str, Stage], databases: Databases, revision: str, table: str, index: str
) -> None:
    """Postgres itself names an index jobs_user_id_created_at_idx."""
    stage = stages[revision]
    with databases.clone(stage.before.name) as db, psycopg.connect(db.dsn, autocommit=True) as connection:
        connection.execute(f"create index {index} on public.{table} (user_id)".encode())
        before = state(db)
        migrate.upgrade(db.dsn, revision)
        assert state(db) != before
        migrate.downgrade(db.dsn, f"{int(revision) - 1:04}")
        assert state(db) == before


@pytest.mark.parametrize(("revision", "table"), [("0003", "images"), ("0004", "videos")])
def test_duplicates_stop_the_unique_index_and_once_they_are_gone_it_is_built(
    stages: dict[str, Stage], databases: Databases, revision: str, table: str
) -> None:
    stage = stages[revision]
    with databases.clone(stage.before.name) as db, psycopg.connect(db.dsn, autocommit=True) as connection:
        user = db.user()
        job = "insert into public.jobs (user_id, job_type) values (%s, 'sketch') returning id"
        [job_id] = connection.execute(job, (user,)).fetchone() or ()
        twins = f"insert into public.{table} (user_id, job_id, image_index) select %s, %s, 0 from generate_series(1, 2)"
        connection.execute(twins.encode(), (user, job_id))

        with pytest.raises(DatabaseRefusedError) as caught:
            migrate.upgrade(db.dsn, revision)
        assert str(caught.value) == (
            f"Revision {revision} unique {table[:-1]} index: "
            f"In public.{table} 1 pairs of job_id and image_index stand in more than one row each. This shows them: "
            f"select job_id, image_index, array_agg(id order by created_at) from public.{table} "
            "where job_id is not null and image_index is not null group by 1, 2 having count(*) > 1; "
            "keep one row of each, and run this again."
        )
        index = f"select to_regclass('public.{table}_job_id_image_index_key')"
        assert connection.execute(index.encode()).fetchone() == (None,)
        assert migrate.current(db.dsn) == stage.state_before.revision

        one = f"delete from public.{table} where id = (select id from public.{table} limit 1)"
        connection.execute(one.encode())
        migrate.upgrade(db.dsn, revision)
        again = f"insert into public.{table} (user_id, job_id, image_index) values (%s, %s, 0)"
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(again.encode(), (user, job_id))
        connection.execute(f"delete from public.{table}".encode())
        assert state(db) == stage.state_after
