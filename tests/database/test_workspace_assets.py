"""A database whose frontends wait for rows of workspace_assets: completing a job fills them, whole or not at all."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from consumer import job_types, migrate, statements
from consumer.database import Database as Pool
from consumer.errors import DatabaseRefusedError
from consumer.job import Job
from decoding import Publication
from jobs import Hands, Jobs, Row
from postgres import Database, Databases
from stages import state
from steps import Open
from test_broken_off_migrations import fail_everywhere
from user_jobs import UserJobs
from workers import Site

PLATFORM = Path(__file__).with_name("generation_b.sql")
BEFORE, REVISION = "0017", "0018"
OURS = """
select tgname from pg_trigger where tgname = 'consumer_fill_workspace_assets'
union all select relname from pg_class where relname in ('consumer_workspace_assets_key', 'workspace_assets')
"""
COLUMNS = (
    "user_id, job_id, asset_type, temp_storage_path, file_size_bytes, mime_type, generation_seed, original_prompt, "
    "model_used"
)
MADE = {"consumer_fill_workspace_assets", "consumer_workspace_assets_key", "workspace_assets"}


@pytest.fixture(scope="module")
def platform(databases: Databases) -> Iterator[Database]:
    """The platform's database, to be cloned."""
    with databases.clone(databases.dressed) as db:
        with db.connect() as connection:
            connection.execute(PLATFORM.read_bytes())
        yield db


@pytest.fixture(scope="module")
def adopted(databases: Databases, platform: Database) -> Iterator[Database]:
    """The same database migrated, to be cloned."""
    with databases.clone(platform.name) as db:
        migrate.upgrade(db.dsn)
        migrate.push_job_types(db.dsn, job_types.load().values())
        yield db


@pytest.fixture(scope="module")
def almost(databases: Databases, platform: Database) -> Iterator[Database]:
    """The same database before the revision in question, to be cloned."""
    with databases.clone(platform.name) as db:
        migrate.upgrade(db.dsn, BEFORE)
        yield db


@pytest.fixture
def before(databases: Databases, almost: Database) -> Iterator[Database]:
    with databases.clone(almost.name) as db:
        yield db


@pytest.fixture
def db(databases: Databases, adopted: Database) -> Iterator[Database]:
    with databases.clone(adopted.name) as db:
        yield db


@pytest.fixture
def jobs(db: Database) -> UserJobs:
    """Its rows, as the user who has been there for long."""
    jobs = UserJobs(db)
    jobs.user = jobs.value("select min(id::text)::uuid from public.profiles")
    return jobs


@pytest.fixture
def worker(db: Database, runner: asyncio.Runner) -> Iterator[Hands]:
    pool = Pool(db.dsn)
    runner.run(pool.open())
    yield Hands(runner, pool)
    runner.run(pool.close())


@pytest.fixture
def site(db: Database, tmp_path: Path) -> Iterator[Site]:
    site = Site(db.dsn, tmp_path)
    yield site
    site.close()


def assets(jobs: Jobs, job_id: UUID) -> list[Row]:
    return jobs.run("select * from public.workspace_assets where job_id = %s order by asset_index", job_id)


def made(connection: psycopg.Connection[Any]) -> set[str]:
    """What there is of ours, and the table itself."""
    return {name for (name,) in connection.execute(OURS)}


def finish(worker: Hands, jobs: Jobs, count: int = 1) -> Job:
    """Insert a job and do everything but complete it."""
    jobs.add("sdxl_image_fast", count, original_prompt="A harbour")
    job = worker.take("sdxl_image_fast")
    for index in range(count):
        worker.record(job, index)
    return job


# What a worker does there.


def test_pictures_and_a_video_become_complete_rows_that_their_user_alone_reads(site: Site, jobs: UserJobs) -> None:
    pictures = jobs.submit("A harbour", 2, "sdxl_image_fast", width=64, height=128)
    video = jobs.submit("A harbour at night", 1, "video_fast", width=64, height=64, num_frames=9, fps=4)
    worker = site.start(engines="sketch")
    for job in (pictures, video):
        worker.wait_for("job.completed", job_id=job)

    rows, images = assets(jobs, pictures), jobs.images(pictures)
    assert [row["asset_index"] for row in rows] == [0, 1]
    for row, image in zip(rows, images, strict=True):
        assert row["temp_storage_path"] == image["image_url"] == f"{jobs.user}/{pictures}/{row['asset_index']}.png"
        assert row["thumbnail_path"] == image["thumbnail_url"]
        assert row["file_size_bytes"] == site.file(row["temp_storage_path"]).stat().st_size
        assert (row["asset_type"], row["mime_type"], row["duration_seconds"]) == ("image", "image/png", None)
        assert (row["width"], row["height"]) == (64, 128)
        assert row["generation_seed"] == image["seed"] == 1000 + row["asset_index"]
        assert row["generation_settings"] == image["metadata"]
        assert (row["user_id"], row["original_prompt"], row["model_used"]) == (jobs.user, "A harbour", "sdxl")
        assert (row["expires_at"] - row["created_at"]).days == 7

    [row] = assets(jobs, video)
    assert (row["asset_type"], row["mime_type"], row["asset_index"]) == ("video", "video/mp4", 0)
    assert row["temp_storage_path"] == f"{jobs.user}/{video}/0.mp4"
    assert row["file_size_bytes"] == site.file(row["temp_storage_path"]).stat().st_size
    assert float(row["duration_seconds"]) == pytest.approx(9 / 4)

    count = "select count(*) from public.workspace_assets"
    other = jobs.value("select max(id::text)::uuid from public.profiles")
    assert jobs.db.execute_as(jobs.user, count) == [(4,)]
    assert jobs.db.execute_as(other, count) == [(0,)]


def test_the_rows_are_inserted_by_the_transaction_that_completes_the_job(
    db: Database, jobs: UserJobs, worker: Hands
) -> None:
    with Publication(db) as publication:
        job = finish(worker, jobs, 3)
        assert [change for change in publication.read() if change.table == "workspace_assets"] == []
        assert worker.complete(job, 3) == (True, True)
        told = publication.read()
    inserted = [change.row for change in told if change.table == "workspace_assets" and change.kind == "insert"]
    assert [(row["job_id"], row["asset_index"]) for row in inserted] == [(str(job.id), index) for index in "012"]
    assert [change.row["status"] for change in told if change.table == "jobs"] == ["completed"]
    assert {row["created_at"] for row in assets(jobs, job.id)} == {jobs.get(job.id)["completed_at"]}


def test_neither_is_there_without_the_other(jobs: UserJobs, worker: Hands, begin: Callable[[], Open]) -> None:
    job = finish(worker, jobs)
    transaction = begin()
    assert transaction.complete(job) == (True, True)
    assert (jobs.get(job.id)["status"], assets(jobs, job.id)) == ("processing", [])
    transaction.rollback()
    assert (jobs.get(job.id)["status"], assets(jobs, job.id)) == ("processing", [])


def test_completing_it_again_gives_no_second_row(jobs: UserJobs, worker: Hands) -> None:
    job = finish(worker, jobs)
    worker.complete(job)
    [first] = assets(jobs, job.id)
    assert worker.complete(job) == (True, False)
    assert assets(jobs, job.id) == [first]
    jobs.set(job.id, status="processing")
    jobs.run("update public.images set file_size = 2000 where job_id = %s", job.id)
    assert worker.complete(job) == (True, True)
    assert assets(jobs, job.id) == [{**first, "file_size_bytes": 2000}]


def test_a_row_that_somebody_put_in_its_place_beforehand_becomes_the_owners(jobs: UserJobs, worker: Hands) -> None:
    job = finish(worker, jobs)
    other = jobs.value("select max(id::text)::uuid from public.profiles")
    jobs.db.execute_as(
        other,
        f"insert into public.workspace_assets ({COLUMNS}) values (%s, %s, 'image', 'mine.png', 1, '', 1, '', '')",
        (other, job.id),
    )
    worker.complete(job)
    [row] = assets(jobs, job.id)
    assert (row["user_id"], row["temp_storage_path"]) == (jobs.user, f"{jobs.user}/{job.id}/0.png")
    assert jobs.db.execute_as(other, "select id from public.workspace_assets") == []


def test_a_result_of_the_application_that_nobody_measured_is_left_to_it(jobs: UserJobs, worker: Hands) -> None:
    job = finish(worker, jobs, 2)
    jobs.run("update public.images set file_size = null where job_id = %s and image_index = 1", job.id)
    assert worker.complete(job, 2) == (True, True)
    assert [row["asset_index"] for row in assets(jobs, job.id)] == [0]


def test_a_job_of_somebody_elses_worker_fills_nothing(jobs: UserJobs) -> None:
    foreign = jobs.value("select id from public.jobs where job_type = 'rv51_fast'")
    jobs.insert(
        "images",
        {"user_id": jobs.user, "job_id": foreign, "image_index": 0, "status": "completed", "image_url": "0.png"}
        | {"file_size": 1000, "seed": 7, "format": "png"},
    )
    jobs.set(foreign, status="completed")
    assert assets(jobs, foreign) == []


def test_a_table_that_refuses_the_row_costs_an_attempt_and_no_picture(site: Site, jobs: UserJobs) -> None:
    jobs.run("alter table public.workspace_assets add constraint odd check (width > 64) not valid")
    job = jobs.submit("A harbour", 1, "sdxl_image_fast", width=64, height=64)
    worker = site.start(engines="sketch")
    worker.wait_for("job.retry", job_id=job, attempt=1)
    row, images = jobs.get(job), jobs.images(job)
    assert (row["status"], [image["status"] for image in images]) == ("queued", ["completed"])
    assert [error["type"] for error in row["errors"]] == ["CheckViolation"]
    assert assets(jobs, job) == []

    jobs.run("alter table public.workspace_assets drop constraint odd")
    jobs.hurry(job)
    worker.wait_for("job.completed", job_id=job, attempt=2)
    assert jobs.images(job) == images
    assert [row["temp_storage_path"] for row in assets(jobs, job)] == [images[0]["image_url"]]


@pytest.mark.parametrize(
    "change",
    [
        "alter table public.workspace_assets replica identity nothing",
        "create index on public.workspace_assets (repeat(md5(original_prompt), 1 + length(original_prompt)))",
    ],
)
def test_a_refusal_that_will_never_pass_is_not_taken_for_an_outage(jobs: UserJobs, worker: Hands, change: str) -> None:
    job = finish(worker, jobs)
    worker.complete(job)
    jobs.run(change)
    jobs.set(job.id, status="processing", original_prompt="A harbour" * 1000)
    with pytest.raises(psycopg.errors.RaiseException, match="The table workspace_assets refused the assets of a job"):
        worker.complete(job)
    assert jobs.get(job.id)["status"] == "processing"


# What else there may be.


def harbour(db: Database, runner: asyncio.Runner) -> UUID:
    """Complete a job of one picture there; returns its id."""
    migrate.push_job_types(db.dsn, job_types.load().values())
    jobs = Jobs(db)
    jobs.user = jobs.value("select min(id::text)::uuid from public.profiles")
    pool = Pool(db.dsn)
    runner.run(pool.open())
    worker = Hands(runner, pool)
    job = finish(worker, jobs)
    assert worker.complete(job) == (True, True)
    runner.run(pool.close())
    assert jobs.get(job.id)["status"] == "completed"
    return job.id


def test_the_columns_that_there_are_are_filled_as_their_types_want_it(before: Database, runner: asyncio.Runner) -> None:
    before.connect().execute("""
        alter table public.workspace_assets
          drop column thumbnail_path, drop column width, drop column generation_settings, drop column duration_seconds,
          add column duration_seconds numeric not null default 0, add column rating integer not null default 3,
          drop column mime_type, add column mime_type text generated always as (asset_type || '/theirs') stored,
          alter column generation_seed type text
    """)
    migrate.upgrade(before.dsn)
    [row] = assets(Jobs(before), harbour(before, runner))
    assert (row["generation_seed"], row["height"], row["duration_seconds"], row["rating"]) == ("7", 768, 0, 3)
    assert row["mime_type"] == "image/theirs"


def test_a_table_that_was_dropped_later_keeps_no_job_from_being_completed(db: Database, runner: asyncio.Runner) -> None:
    db.connect().execute("drop table public.workspace_assets")
    assert harbour(db, runner)


def test_a_column_that_nobody_could_fill_is_told_before_anything_is_made(before: Database) -> None:
    connection = before.connect()
    connection.execute(
        "alter table public.workspace_assets add a text not null default '', add b text not null default ''"
    )
    connection.execute("alter table public.workspace_assets alter column a drop default, alter column b drop default")
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.upgrade(before.dsn)
    assert str(caught.value) == (
        "Revision 0018 workspace assets: The table public.workspace_assets wants a value in a, b, "
        "which this system cannot know: give each of these columns a default, or drop its NOT NULL."
    )
    assert (migrate.current(before.dsn), made(connection)) == (BEFORE, {"workspace_assets"})
    connection.execute(
        "alter table public.workspace_assets alter column a drop not null, alter column b set default ''"
    )
    migrate.upgrade(before.dsn)
    assert made(connection) == MADE


def test_duplicates_stop_it_with_the_query_that_shows_them(before: Database) -> None:
    connection = before.connect()
    twin = "insert into public.workspace_assets select gen_random_uuid(), {} from public.workspace_assets"
    columns = (
        "user_id, asset_type, temp_storage_path, file_size_bytes, mime_type, duration_seconds, job_id, asset_index"
    )
    more = "generation_seed, original_prompt, model_used"
    connection.execute(twin.format(f"{columns}, {more}").encode())
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.upgrade(before.dsn)
    told, query = str(caught.value).split(" This shows them: ")
    assert told == (
        "Revision 0018 workspace assets: "
        "In public.workspace_assets 1 pairs of job_id and asset_index stand in more than one row each."
    )
    [(_, index, ids)] = connection.execute(query.split(";")[0].encode())
    assert (index, len(ids)) == (0, 2)
    assert (migrate.current(before.dsn), made(connection)) == (BEFORE, {"workspace_assets"})
    connection.execute("delete from public.workspace_assets where id = %s", (ids[1],))
    migrate.upgrade(before.dsn)
    assert made(connection) == MADE


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("create unique index theirs on public.workspace_assets (job_id, asset_index)", True),
        ("alter table public.workspace_assets add constraint theirs unique (asset_index, job_id)", True),
        ("create index theirs on public.workspace_assets (job_id, asset_index)", False),
        ("create unique index theirs on public.workspace_assets (job_id, asset_index, id)", False),
        ("create unique index theirs on public.workspace_assets (job_id, abs(asset_index))", False),
        ("create unique index theirs on public.workspace_assets (job_id, asset_index) where asset_index > 0", False),
    ],
)
def test_an_index_that_is_there_serves_if_it_can(
    before: Database, runner: asyncio.Runner, index: str, serves: bool
) -> None:
    connection = before.connect()
    connection.execute(index.encode())
    migrate.upgrade(before.dsn)
    assert ("consumer_workspace_assets_key" in made(connection)) is not serves
    assert len(assets(Jobs(before), harbour(before, runner))) == 1
    migrate.downgrade(before.dsn, BEFORE)
    assert connection.execute("select to_regclass('public.theirs') is not null").fetchone() == (True,)


def test_a_deferrable_constraint_is_refused_for_no_insert_could_use_it(before: Database) -> None:
    connection = before.connect()
    theirs = "alter table public.workspace_assets add constraint theirs unique (job_id, asset_index) {}"
    connection.execute(theirs.format("deferrable").encode())
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.upgrade(before.dsn)
    assert str(caught.value) == (
        "Revision 0018 workspace assets: On public.workspace_assets the unique constraint theirs is deferrable, "
        "and INSERT ... ON CONFLICT cannot use such a one: drop it, and make it again without DEFERRABLE."
    )
    connection.execute("alter table public.workspace_assets drop constraint theirs")
    connection.execute(theirs.format("").encode())
    migrate.upgrade(before.dsn)
    assert made(connection) == MADE - {"consumer_workspace_assets_key"}


def test_an_invalid_index_that_a_failed_build_left_is_built_anew(before: Database) -> None:
    connection = before.connect()
    build = "create unique index concurrently consumer_workspace_assets_key on public.workspace_assets (asset_type)"
    connection.execute(
        f"insert into public.workspace_assets ({COLUMNS}) select user_id, id, 'image', '', 1, '', 1, '', ''"
        " from public.jobs where status is distinct from 'completed'"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(build.encode())
    migrate.upgrade(before.dsn)
    index = "public.consumer_workspace_assets_key"
    valid = "select indisvalid, indnkeyatts from pg_index where indexrelid = %s::regclass"
    assert connection.execute(valid, (index,)).fetchone() == (True, 2)


def test_where_there_is_no_such_table_nothing_is_made_until_it_comes(before: Database, runner: asyncio.Runner) -> None:
    connection = before.connect()
    connection.execute("alter table public.workspace_assets rename to later")
    migrate.upgrade(before.dsn)
    assert made(connection) == set()
    connection.execute("alter table public.later rename to workspace_assets")
    migrate.downgrade(before.dsn, BEFORE)
    migrate.upgrade(before.dsn)
    assert made(connection) == MADE
    assert len(assets(Jobs(before), harbour(before, runner))) == 1


def test_a_table_of_that_name_that_is_something_else_is_let_alone(before: Database, runner: asyncio.Runner) -> None:
    connection = before.connect()
    connection.execute("alter table public.workspace_assets rename to theirs")
    connection.execute("create view public.workspace_assets as select job_id, asset_index from public.theirs")
    migrate.upgrade(before.dsn)
    assert made(connection) == {"workspace_assets"}
    connection.execute("drop view public.workspace_assets")
    connection.execute("create table public.workspace_assets (id integer, job_id uuid)")
    migrate.downgrade(before.dsn, BEFORE)
    migrate.upgrade(before.dsn)
    assert made(connection) == {"workspace_assets"}
    assert harbour(before, runner)
    assert connection.execute("select count(*) from public.workspace_assets").fetchone() == (0,)


def test_the_way_back_takes_ours_alone_and_leaves_the_rows(before: Database, runner: asyncio.Runner) -> None:
    platform = state(before)
    migrate.upgrade(before.dsn)
    adopted = state(before)
    job = harbour(before, runner)
    rows = assets(Jobs(before), job)
    migrate.downgrade(before.dsn, BEFORE)
    assert state(before) == platform
    assert assets(Jobs(before), job) == rows
    migrate.upgrade(before.dsn)
    assert state(before) == adopted


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_revision_that_broke_off_after_any_statement_is_finished(before: Database, direction: str) -> None:
    end = {"up": (migrate.upgrade, "head"), "down": (migrate.downgrade, BEFORE)}[direction]
    states = {"down": state(before)}
    migrate.upgrade(before.dsn)
    states["up"] = state(before)
    if direction == "up":
        migrate.downgrade(before.dsn, BEFORE)
    fail_everywhere(before, statements.migration(REVISION, direction)[0])
    end[0](before.dsn, end[1])
    assert state(before) == states[direction]
