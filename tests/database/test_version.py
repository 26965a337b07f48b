"""version and updated_at: of two states of a row, or two rows under one key, the newer one has the higher version."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from consumer import migrate
from consumer.errors import DatabaseRefusedError
from consumer.job import Medium
from decoding import Publication
from jobs import Hands, Jobs
from postgres import Database, Databases
from stages import state

MAX = 2**63 - 1
TABLES = ("jobs", "images", "videos")


def row_of(jobs: Jobs, table: str) -> dict[str, Any]:
    """A row of this table that has just been inserted."""
    job_id = jobs.add("video_fast" if table == "videos" else "sketch")
    return jobs.run(f"select * from public.{table} where {'id' if table == 'jobs' else 'job_id'} = %s", job_id)[0]


@pytest.mark.parametrize("table", TABLES)
def test_every_change_of_a_row_gives_it_a_higher_version_and_the_time(jobs: Jobs, table: str) -> None:
    first = row_of(jobs, table)
    seen = [first]
    for status in ("queued", "failed"):
        seen += jobs.run(f"update public.{table} set status = %s where id = %s returning *", status, first["id"])
    versions = [row["version"] for row in seen]
    assert versions[0] > 0
    assert versions == sorted(set(versions))
    times = [row["updated_at"] for row in seen]
    assert times == sorted(set(times))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("sent", [0, -1, MAX])
def test_nobody_sets_a_version_or_the_time(jobs: Jobs, table: str, sent: int) -> None:
    before = row_of(jobs, table)
    statement = f"update public.{table} set version = %s, updated_at = '1999-01-01' where id = %s returning *"
    [after] = jobs.run(statement, sent, before["id"])
    assert before["version"] < after["version"] < MAX
    assert after["updated_at"] > before["updated_at"]
    columns = {"version": sent, "updated_at": "1999-01-01", "user_id": jobs.user}
    new = jobs.insert(table, columns | ({"job_type": "sketch"} if table == "jobs" else {}))
    [inserted] = jobs.run(f"select * from public.{table} where id = %s", new)
    assert after["version"] < inserted["version"] < MAX
    assert inserted["updated_at"] > after["updated_at"]


def test_a_user_who_sends_a_version_gains_nothing(db: Database, jobs: Jobs) -> None:
    insert = "insert into public.jobs (user_id, job_type, version) values (%s, 'sketch', %s) returning version"
    [(version,)] = db.execute_as(jobs.user, insert, (jobs.user, MAX))
    assert version < MAX


def versions_of(jobs: Jobs, work: Callable[[UUID], object], db: Database) -> list[tuple[str, int]]:
    """(image id, version) as Realtime tells them for index 0 of a job of one image, in order of the commits."""
    with Publication(db) as publication:
        job_id = jobs.add()
        work(job_id)
        changes = publication.read()
    return [
        (str(change.row["id"]), int(change.row["version"] or 0))
        for change in changes
        if change.table == "images" and change.kind != "delete" and change.row["image_index"] == "0"
    ]


@pytest.mark.parametrize("how", ["inserted", "linked", "linked later", "upserted"])
def test_a_row_that_replaces_ours_is_newer_than_it(db: Database, jobs: Jobs, worker: Hands, how: str) -> None:
    mine = uuid4()
    columns = {"id": mine, "user_id": jobs.user}
    if how != "inserted":
        jobs.insert("images", columns)

    def replace(job_id: UUID) -> None:
        job = worker.take()
        for percent in range(10, 90, 10):
            worker.progress(job, percent, {0: percent})
        match how:
            case "inserted":
                jobs.insert("images", columns | {"job_id": job_id, "image_index": 0})
            case "linked":
                jobs.run("update public.images set job_id = %s, image_index = 0 where id = %s", job_id, mine)
            case "linked later":
                jobs.run("update public.images set job_id = %s where id = %s", job_id, mine)
                jobs.run("update public.images set image_index = 0 where id = %s", mine)
            case "upserted":
                jobs.run(
                    "insert into public.images (id, user_id, job_id, image_index) values (%s, %s, %s, 0)"
                    " on conflict (id) do update set job_id = excluded.job_id, image_index = 0",
                    mine, jobs.user, job_id,
                )  # fmt: skip
        worker.record(job)

    told = versions_of(jobs, replace, db)
    assert told[0][0] != str(mine)
    assert told[-1][0] == str(mine)
    versions = [version for _, version in told]
    assert versions == sorted(set(versions)), "in the order of the commits no version comes twice or goes back"


def test_a_video_that_replaces_ours_is_newer_than_it(jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.record(job, 0, Medium.video, duration_seconds=5)
    [ours] = jobs.videos(job_id)
    jobs.insert("videos", {"user_id": jobs.user, "job_id": job_id, "image_index": 0})
    [mine] = jobs.videos(job_id)
    assert mine["id"] != ours["id"]
    assert mine["version"] > ours["version"]


def test_two_writers_of_one_row_draw_their_versions_in_the_order_of_their_commits(
    jobs: Jobs, begin: Callable[..., Any]
) -> None:
    first, second, key = begin(), begin(), row_of(jobs, "images")["id"]
    write = "update public.images set title = coalesce(title, '') || %s where id = %s returning version"
    [(early,)] = first.do(first.sql(write, "1", key))
    waiting = second.start(second.sql(write, "2", key), behind=first)
    first.commit()
    [(late,)] = second.end(waiting)
    assert early < late
    assert jobs.value("select title from public.images where id = %s", key) == "12"


def test_a_sequence_that_a_restore_left_behind_turns_no_version_back(own_db: Database) -> None:
    jobs = Jobs(own_db)
    row = row_of(jobs, "images")
    jobs.run("select setval('consumer.versions', 1, false)")
    [again] = jobs.run("update public.images set title = 'x' where id = %s returning version", row["id"])
    assert again["version"] == row["version"] + 1


def test_a_fresh_row_of_a_table_that_was_there_before_has_the_lowest_version(databases: Databases, stages) -> None:
    with databases.clone(stages["0011"].after.name) as db:
        jobs = Jobs(db)
        jobs.insert("images", {"user_id": jobs.user})
        migrate.upgrade(db.dsn, "0012")
        [row] = jobs.run("select version from public.images")
        assert row["version"] == 0
        [row] = jobs.run("update public.images set title = 'x' returning version")
        assert row["version"] > 0


@pytest.mark.parametrize("table", TABLES)
def test_a_column_of_that_name_that_is_not_ours_is_left_alone_and_told(databases: Databases, stages, table) -> None:
    with databases.clone(stages["0011"].after.name) as db:
        db.connect().execute(f"alter table public.{table} add column version text".encode())
        before = state(db)
        with pytest.raises(DatabaseRefusedError) as caught:
            migrate.upgrade(db.dsn, "0012")
        assert str(caught.value) == (
            f"Revision 0012 version: The table public.{table} has a column version that is not ours; rename it first."
        )
        assert state(db) == before


def test_the_sequence_of_versions_is_open_to_nobody(db: Database, jobs: Jobs) -> None:
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute_as(jobs.user, "select nextval('consumer.versions')", role=role)
