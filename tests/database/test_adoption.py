"""A database that has the platform's tables, and rows in them: we move in and out, and nothing of it is lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from consumer import job_types, migrate
from consumer.database import Database as Pool
from consumer.errors import DatabaseRefusedError
from consumer.job import Medium
from jobs import Hands, Jobs
from postgres import Database, Databases
from schema_picture import run_program
from stages import state

PLATFORM = Path(__file__).with_name("generation_a.sql")
TABLES = ("jobs", "images", "videos")


@pytest.fixture(scope="module")
def platform(databases: Databases) -> Iterator[Database]:
    """The platform's database, to be cloned."""
    with databases.clone(databases.dressed) as db:
        with db.connect() as connection:
            connection.execute(PLATFORM.read_bytes())
        yield db


@pytest.fixture
def before(databases: Databases, platform: Database) -> Iterator[Database]:
    """The platform's database, without our migrations."""
    with databases.clone(platform.name) as db:
        yield db


@pytest.fixture
def db(before: Database) -> Database:
    """The same database, adopted."""
    migrate.upgrade(before.dsn)
    migrate.push_job_types(before.dsn, job_types.load().values())
    return before


@pytest.fixture
def jobs(db: Database) -> Jobs:
    """Its rows, as the user who has been there for long."""
    jobs = Jobs(db)
    jobs.user = jobs.value("select id from public.profiles")
    return jobs


@pytest.fixture
def worker(db: Database, runner: asyncio.Runner) -> Iterator[Hands]:
    pool = Pool(db.dsn)
    runner.run(pool.open())
    yield Hands(runner, pool)
    runner.run(pool.close())


def contents(db: Database, columns: dict[str, str]) -> dict[str, list[Any]]:
    """Every row of the platform's tables, with these columns."""
    with db.connect() as connection:
        return {
            table: connection.execute(f"select {names} from public.{table} order by id".encode()).fetchall()
            for table, names in columns.items()
        }


def columns(db: Database) -> dict[str, str]:
    """The columns that the platform's tables have now."""
    listed = "select string_agg(attname, ', ') from pg_attribute where attrelid = %s::regclass and attnum > 0"
    with db.connect() as connection:
        found = [connection.execute(listed, (f"public.{table}",)).fetchone() for table in TABLES]
    return {table: names for table, (names,) in zip(TABLES, found, strict=True)}


def test_moving_in_changes_no_row_and_moving_out_leaves_nothing(before: Database) -> None:
    theirs, platform = columns(before), state(before)
    rows = contents(before, theirs)
    assert [len(rows[table]) for table in TABLES] == [7, 6, 2]
    migrate.upgrade(before.dsn)
    assert contents(before, theirs) == rows
    migrate.downgrade(before.dsn, "base")
    assert state(before) == platform
    assert contents(before, theirs) == rows


def test_moving_out_and_in_again_is_no_different_from_moving_in(db: Database) -> None:
    adopted = state(db)
    migrate.downgrade(db.dsn, "base")
    migrate.upgrade(db.dsn)
    assert state(db) == adopted


def test_the_printed_sql_has_the_same_effect(databases: Databases, platform: Database, db: Database) -> None:
    with databases.clone(platform.name) as other:
        run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", other.dsn, stdin=migrate.offline_sql())
        assert state(other) == state(db)


OWN_RULES = {
    "policies": "select * from pg_policies where schemaname = 'public'",
    "grants": "select relname, relacl from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'",
    "identities": "select relname, relreplident from pg_class where relname in ('jobs', 'images', 'videos')",
    "constraints": "select conname, pg_get_constraintdef(oid) from pg_constraint"
    " where connamespace = 'public'::regnamespace and contype in ('c', 'f', 'p') and conname <> 'videos_job_id_fkey'",
    "triggers": "select tgname, pg_get_triggerdef(oid) from pg_trigger"
    " where not tgisinternal and tgname not like 'consumer_%'",
}


@pytest.mark.parametrize("kind", OWN_RULES)
def test_the_platforms_own_rules_stay_as_they_were(before: Database, kind: str) -> None:
    with before.connect() as connection:
        own = sorted(map(str, connection.execute(OWN_RULES[kind].encode())))
        migrate.upgrade(before.dsn)
        assert own
        assert sorted(map(str, connection.execute(OWN_RULES[kind].encode()))) == own


@pytest.mark.parametrize("function", ["cancel_job", "retry_job"])
def test_a_function_of_the_application_is_not_replaced(before: Database, function: str) -> None:
    with before.connect() as connection:
        body = "select ''their own''::text"
        connection.execute(f"create function public.{function}(uuid) returns text language sql as '{body}'".encode())
        with pytest.raises(DatabaseRefusedError) as caught:
            migrate.upgrade(before.dsn)
        assert str(caught.value) == (
            f"There is already a function public.{function}(uuid), and it is not ours; rename it first."
        )
        migrate.downgrade(before.dsn, "base")
        assert connection.execute(f"select public.{function}(gen_random_uuid())".encode()).fetchone() == ("their own",)


def test_jobs_that_were_queued_before_are_not_put_in_line(jobs: Jobs, worker: Hands) -> None:
    assert jobs.value("select count(*) from public.jobs where status = 'queued'") == 3
    place = "engine is not null or queue_at is not null or start_tag is not null or claim_id is not null"
    assert jobs.run(f"select id from public.jobs where {place}") == []
    assert worker.promote() == (0, None)
    assert worker.claim("video_fast", "sdxl_image_fast", engines=("wan", "sdxl")) is None


def test_a_new_job_ends_as_the_platforms_frontends_expect(db: Database, jobs: Jobs, worker: Hands) -> None:
    """The browser inserts the job, then its rows, last one first; the platform's triggers and policies are in force."""
    insert = "insert into public.jobs (user_id, job_type, status, metadata) values (%s, %s, 'queued', %s) returning id"
    [(job_id,)] = db.execute_as(jobs.user, insert, [jobs.user, "sdxl_image_fast", Jsonb({"num_images": 2})])
    row = "insert into public.images (user_id, prompt, job_id, image_index) values (%s, 'mine', %s, %s)"
    for index in (1, 0):
        db.execute_as(jobs.user, row, [jobs.user, job_id, index])
    job = worker.take("sdxl_image_fast", engines=("sdxl",))
    for index in (0, 1):
        assert worker.record(job, index)
    assert worker.complete(job, 2) == (True, True)
    ended, images, _ = jobs.rows(job_id)
    assert (ended["status"], ended["image_id"], ended["max_attempts"]) == ("completed", images[0]["id"], 3)
    assert [(i["image_index"], i["status"], i["prompt"]) for i in images] == [
        (0, "completed", "mine"),
        (1, "completed", "mine"),
    ]


def test_moving_out_keeps_the_results_of_what_we_did(db: Database, jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast", engines=("wan",))
    worker.record(job, 0, Medium.video, duration_seconds=5.0)
    assert worker.complete(job) == (True, True)
    migrate.downgrade(db.dsn, "base")
    done = "select v.video_url, v.duration from public.jobs j join public.videos v on v.id = j.video_id where j.id = %s"
    assert jobs.run(done, job_id) == [{"video_url": f"{jobs.user}/{job_id}/0.mp4", "duration": 5}]
