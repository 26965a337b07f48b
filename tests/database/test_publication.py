"""What a frontend that listens through Realtime is told of a job."""

import asyncio

import pytest

from consumer import migrate
from consumer.database import Database as Pool
from consumer.errors import DatabaseRefusedError
from decoding import Publication, completions
from jobs import Hands, Jobs
from postgres import Database, Databases
from postgres import migrate as bring_up
from stages import state

TABLES = ("images", "jobs", "videos")


def test_a_job_of_three_images_is_three_rows_that_turn_completed_one_by_one(
    db: Database, jobs: Jobs, worker: Hands
) -> None:
    with Publication(db) as publication:
        job_id = jobs.add(count=3, metadata={"prompt": "A harbour"})
        submitted = publication.read()
        job = worker.take()
        for index in (1, 0, 2):
            worker.progress(job, 10 + index, {index: 50})
            worker.record(job, index)
        assert worker.complete(job, count=3) == (True, True)
        afterwards = publication.read()

    rows = [change.row for change in submitted if change.table == "images"]
    assert [(change.kind, change.table) for change in submitted] == [("insert", "jobs"), *[("insert", "images")] * 3]
    assert [(row["image_index"], row["status"], row["job_id"]) for row in rows] == [
        (index, "queued", str(job_id)) for index in "012"
    ]
    assert {change.kind for change in afterwards} == {"update"}
    assert completions([*submitted, *afterwards]) == [(str(job_id), index) for index in "102"]
    shown = [c.row["image_url"] for c in afterwards if c.table == "images" and c.row["status"] == "completed"]
    assert shown == [f"{jobs.user}/{job_id}/{index}.png" for index in (1, 0, 2)]


def test_the_job_itself_is_told_as_queued_processing_completed(db: Database, jobs: Jobs, worker: Hands) -> None:
    with Publication(db) as publication:
        jobs.add()
        job = worker.take()
        worker.record(job)
        worker.complete(job)
        told = [change.row["status"] for change in publication.read() if change.table == "jobs"]
    assert told == ["queued", "processing", "completed"]


def test_a_video_job_is_one_row_that_turns_completed(db: Database, jobs: Jobs) -> None:
    with Publication(db) as publication:
        job_id = jobs.add("video_fast")
        jobs.run("update public.videos set status = 'completed', video_url = 'a/b/0.mp4' where job_id = %s", job_id)
        told = [(c.kind, c.row["status"], c.row["video_url"]) for c in publication.read() if c.table == "videos"]
    assert told == [("insert", "queued", None), ("update", "completed", "a/b/0.mp4")]


def test_what_is_private_is_not_published(db: Database, worker: Hands) -> None:
    with Publication(db) as publication:
        worker.beat(idle=True)
        assert publication.read() == []


@pytest.mark.parametrize("made", ["for all tables", "for tables in schema public", "for table public.images"])
def test_what_is_published_already_is_left_to_who_published_it(databases: Databases, stages, made: str) -> None:
    with databases.clone(stages["0010"].after.name) as db:
        with db.connect(db.admin_dsn) as admin:
            admin.execute(f"drop publication supabase_realtime; create publication supabase_realtime {made}".encode())
            admin.execute("alter publication supabase_realtime owner to postgres")
        before = state(db)
        migrate.upgrade(db.dsn, "0011")
        for table in TABLES:
            assert f"ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.{table};" in state(db).schema
        migrate.downgrade(db.dsn, "0010")
        assert state(db) == before


def test_a_publication_that_was_not_there_is_made_and_taken_away(databases: Databases, stages) -> None:
    with databases.clone(stages["0010"].after.name) as db:
        connection = db.connect()
        connection.execute("drop publication supabase_realtime")
        migrate.upgrade(db.dsn, "0011")
        assert state(db).schema == stages["0011"].state_after.schema
        migrate.downgrade(db.dsn, "0010")
        assert connection.execute("select pubname from pg_publication").fetchall() == []


# Wherever the tables are published, a job runs through.


@pytest.mark.parametrize("made", ["for all tables", "for tables in schema public, consumer"])
def test_a_job_runs_through_where_everything_is_published(
    databases: Databases, stages, runner: asyncio.Runner, made: str
) -> None:
    with databases.clone(databases.dressed) as db:
        with db.connect(db.admin_dsn) as admin:
            admin.execute("create schema consumer authorization postgres; drop publication supabase_realtime")
            admin.execute(f"create publication supabase_realtime {made}".encode())
            admin.execute("alter publication supabase_realtime owner to postgres")
        bring_up(db.dsn)
        jobs, pool = Jobs(db), Pool(db.dsn)
        runner.run(pool.open())
        worker = Hands(runner, pool)
        with Publication(db) as publication:
            job_id = jobs.add()
            for _ in range(2):
                worker.beat(idle=True)
            job = worker.take()
            worker.progress(job, 50, {0: 50})
            worker.record(job)
            assert worker.complete(job) == (True, True)
            changes = publication.read()
        runner.run(pool.close())
        assert completions(changes) == [(str(job_id), "0")]


def test_each_table_of_ours_has_a_primary_key_by_which_its_changes_can_be_told(db: Database) -> None:
    without = (
        "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p')"
        " and c.relnamespace in ('public'::regnamespace, 'consumer'::regnamespace)"
        " and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)"
    )
    with db.connect() as connection:
        assert connection.execute(without).fetchall() == []


@pytest.mark.parametrize("table", TABLES)
def test_a_table_whose_updates_could_not_be_told_is_not_published(databases: Databases, stages, table: str) -> None:
    with databases.clone(stages["0010"].after.name) as db:
        db.connect().execute(f"alter table public.{table} replica identity nothing".encode())
        before = state(db)
        with pytest.raises(DatabaseRefusedError) as caught:
            migrate.upgrade(db.dsn, "0011")
        assert str(caught.value) == (
            f"Revision 0011 publication: The table public.{table} has no replica identity, "
            f"and would refuse every UPDATE once it is published: alter table public.{table} replica identity default."
        )
        assert state(db) == before
