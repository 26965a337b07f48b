"""Broadcast, where it was asked for: what changes goes to its user's private topic, and can break nothing."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from consumer import migrate, statements
from consumer.database import Database as Pool
from consumer.errors import DatabaseRefusedError, SchemaTooOldError
from consumer.job import Medium
from jobs import Hands, Jobs, Row
from postgres import Database, Databases
from schema_picture import picture, run_program
from stages import state

SENT = "select event, topic, payload, private, extension from realtime.messages order by inserted_at, ctid"
JOB = {"id", "job_type", "status", "progress", "error_message", "image_id", "video_id", "version", "updated_at"}
ASSET = {"id", "job_id", "image_index", "status", "progress", "thumbnail_url", "error_message", "version", "updated_at"}
REALTIME = (
    "select oid::regclass::text, relowner::regrole::text from pg_class where relnamespace = 'realtime'::regnamespace"
)


@pytest.fixture(scope="module")
def broadcasting(databases: Databases) -> Iterator[Database]:
    """A migrated database with Broadcast on, to be cloned."""
    with databases.clone(databases.migrated) as db:
        migrate.broadcast(db.dsn, "up")
        yield db


@pytest.fixture
def db(databases: Databases, broadcasting: Database) -> Iterator[Database]:
    with databases.clone(broadcasting.name) as db:
        yield db


@pytest.fixture
def worker(db: Database, runner: asyncio.Runner) -> Iterator[Hands]:
    pool = Pool(db.dsn)
    runner.run(pool.open())
    yield Hands(runner, pool)
    runner.run(pool.close())


class Channel:
    """What has been sent since the last time, in order."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.seen = 0

    def read(self) -> list[Row]:
        rows = self.jobs.run(SENT)
        new, self.seen = rows[self.seen :], len(rows)
        return new

    def told(self) -> list[tuple[str, str]]:
        return [(row["event"], row["payload"]["status"]) for row in self.read()]


@pytest.fixture
def channel(jobs: Jobs) -> Channel:
    return Channel(jobs)


def sent_by_hand(db: Database, user: UUID | None, topic: str, role: str = "authenticated") -> int:
    """How many messages a user reads who says to have joined `topic`."""
    with db.as_user(user, role) as connection:
        connection.execute("select set_config('realtime.topic', %s, true)", (topic,))
        row = connection.execute("select count(*) from realtime.messages").fetchone()
        assert row
        return int(row[0])


# What is sent.


def test_a_job_tells_its_user_of_every_step(jobs: Jobs, worker: Hands, channel: Channel) -> None:
    job_id = jobs.add(count=2)
    assert channel.told() == [("job", "queued"), ("image", "queued"), ("image", "queued")]
    job = worker.take()
    assert channel.told() == [("job", "processing")]
    worker.progress(job, 40, {0: 80})
    assert sorted(channel.told()) == [("image", "processing"), ("job", "processing")]
    worker.record(job, 0)
    worker.record(job, 1)
    messages = channel.read()
    assert [(m["event"], m["payload"]["image_index"], m["payload"]["status"]) for m in messages] == [
        ("image", 0, "completed"),
        ("image", 1, "completed"),
    ]
    assert worker.complete(job, 2) == (True, True)
    [message] = channel.read()
    images = jobs.images(job_id)
    assert (message["payload"]["status"], message["payload"]["progress"]) == ("completed", 100)
    assert message["payload"]["image_id"] == str(images[0]["id"])
    assert [m["payload"]["image_url"] for m in messages] == [image["image_url"] for image in images]
    assert [m["payload"]["version"] for m in messages] == [image["version"] for image in images]


def test_a_message_is_private_to_its_user_and_small(jobs: Jobs, worker: Hands, channel: Channel) -> None:
    jobs.add(metadata={"prompt": "A harbour", "progress": {"x": "y" * 1000}}, original_prompt="A harbour")
    worker.record(worker.take())
    messages = channel.read()
    assert {(m["topic"], m["private"], m["extension"]) for m in messages} == {(f"user:{jobs.user}", True, "broadcast")}
    for message in messages:
        keys = set(message["payload"])
        assert keys == (JOB if message["event"] == "job" else ASSET | {"image_url"})
        assert "arbour" not in str(message["payload"])
        assert len(str(message["payload"])) < 1000


def test_a_video_tells_as_a_video(jobs: Jobs, worker: Hands, channel: Channel) -> None:
    jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.record(job, 0, Medium.video)
    told = [m for m in channel.read() if m["event"] != "job"]
    assert [(m["event"], m["payload"]["status"], m["payload"]["video_url"]) for m in told] == [
        ("video", "queued", None),
        ("video", "completed", f"{jobs.user}/{job.id}/0.mp4"),
    ]
    assert set(told[0]["payload"]) == ASSET | {"video_url"}


def test_a_write_of_progress_sends_at_most_one_message_a_row_and_none_where_nothing_shows(
    jobs: Jobs, worker: Hands, channel: Channel
) -> None:
    jobs.add(count=3)
    job = worker.take()
    channel.read()
    worker.progress(job, 10, {0: 30})
    assert len(channel.read()) == 2
    worker.progress(job, 10, {0: 30})
    worker.progress(job, 5, {0: 20})
    assert channel.read() == []
    jobs.set(job.id, max_attempts=7, errors=[{"type": "OddError"}])
    jobs.run("update public.images set metadata = '{\"note\": 1}', updated_at = now()")
    assert channel.read() == []


def test_the_ways_a_job_can_end_are_told(jobs: Jobs, worker: Hands, channel: Channel) -> None:
    jobs.add()
    job = worker.take()
    channel.read()
    worker.fail(job, "The picture could not be made.")
    messages = channel.read()
    assert {(m["event"], m["payload"]["status"]) for m in messages} == {("job", "failed"), ("image", "failed")}
    assert {m["payload"]["error_message"] for m in messages if m["event"] == "job"} == {
        "The picture could not be made."
    }
    jobs.run("select public.retry_job(%s)", job.id)
    assert sorted(channel.told()) == [("image", "queued"), ("job", "queued")]
    jobs.run("select public.cancel_job(%s)", job.id)
    assert sorted(channel.told()) == [("image", "cancelled"), ("job", "cancelled")]


def test_a_row_that_takes_the_place_of_ours_is_told_under_its_index(jobs: Jobs, channel: Channel) -> None:
    job_id = jobs.add()
    [ours] = jobs.images(job_id)
    channel.read()
    own = jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": 0, "prompt": "mine"})
    messages = [m["payload"] for m in channel.read() if m["event"] == "image"]
    assert [(m["id"], m["image_index"]) for m in messages] == [(str(own), 0)]
    assert messages[0]["version"] > ours["version"]


def test_what_is_not_of_ours_is_told_to_nobody(jobs: Jobs, channel: Channel) -> None:
    foreign = jobs.insert("jobs", {"user_id": jobs.user, "job_type": "rv51_fast"})
    jobs.insert("images", {"user_id": jobs.user, "job_id": foreign, "image_index": 0})
    jobs.insert("images", {"user_id": jobs.user})
    jobs.set(foreign, status="completed")
    jobs.run("update public.images set status = 'completed'")
    assert channel.read() == []


def test_what_is_too_large_for_a_message_is_left_out_of_it(jobs: Jobs, channel: Channel) -> None:
    job_id = jobs.add()
    channel.read()
    jobs.run("update public.images set image_url = repeat('x', 1000000), progress = 7 where job_id = %s", job_id)
    [message] = channel.read()
    assert message["payload"]["progress"] == 7
    assert "image_url" not in message["payload"]


# Who reads it.


def test_nobody_reads_what_is_sent_to_another(db: Database, jobs: Jobs, channel: Channel) -> None:
    jobs.add(count=2)
    others = db.user()
    sent = len(channel.read())
    own, foreign = f"user:{jobs.user}", f"user:{others}"
    assert sent == 3
    assert sent_by_hand(db, jobs.user, own) == sent
    assert sent_by_hand(db, others, own) == sent_by_hand(db, others, foreign) == 0
    assert sent_by_hand(db, None, own, role="anon") == 0


def test_nobody_can_send_in_the_name_of_the_database(db: Database, jobs: Jobs) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute_as(
            jobs.user,
            "insert into realtime.messages (topic, extension, event) values (%s, 'broadcast', 'job')",
            (f"user:{jobs.user}",),
        )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute_as(jobs.user, "select consumer.broadcast()")


def test_a_user_without_rights_on_realtime_sends_by_inserting_a_job(db: Database, jobs: Jobs, channel: Channel) -> None:
    with psycopg.connect(db.admin_dsn) as connection:
        connection.execute("revoke all on schema realtime from authenticated")
    insert = "insert into public.jobs (user_id, job_type, metadata) values (%s, 'sketch', '{\"num_images\": 1}')"
    db.execute_as(jobs.user, insert, (jobs.user,))
    assert channel.told() == [("job", "queued"), ("image", "queued")]


# What can go wrong there.

SEND = "realtime.send(payload jsonb, event text, topic text, private boolean default true)"
BREAKS = {
    "raises": f"create or replace function {SEND} returns void language plpgsql as $$ begin raise 'no'; end $$",
    "is gone": "drop function realtime.send(jsonb, text, text, boolean)",
    "is forbidden": "revoke all on function realtime.send(jsonb, text, text, boolean)"
    " from public, postgres, supabase_realtime_admin",
    "has no table": "drop table realtime.messages cascade",
}


@pytest.mark.parametrize("statement", BREAKS.values(), ids=BREAKS)
def test_no_write_fails_because_realtime_does(db: Database, jobs: Jobs, worker: Hands, statement: str) -> None:
    with psycopg.connect(db.admin_dsn) as connection:
        connection.execute(statement.encode())
    warnings: list[str] = []
    jobs.connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    job_id = jobs.add(count=2)
    job = worker.take()
    worker.progress(job, 10, {0: 20})
    worker.record(job, 0)
    worker.record(job, 1)
    assert worker.complete(job, 2) == (True, True)
    assert jobs.value("select public.cancel_job(%s)", jobs.add()) == "cancelled"
    ended, images, _ = jobs.rows(job_id)
    assert (ended["status"], [image["status"] for image in images]) == ("completed", ["completed"] * 2)
    assert warnings
    assert str(jobs.user) not in " ".join(warnings)


# On and off.


def test_off_takes_exactly_that_out_again(databases: Databases) -> None:
    with databases.clone(databases.migrated) as db:
        before, policies = state(db), db.connect().execute("select * from pg_policies order by 1, 2, 3").fetchall()
        realtime = db.connect().execute(REALTIME.encode()).fetchall()
        for _ in range(2):
            migrate.broadcast(db.dsn, "up")
            on = state(db)
            migrate.broadcast(db.dsn, "up")
            assert state(db) == on != before
            assert "broadcast" in on.created
            assert db.connect().execute(REALTIME.encode()).fetchall() == realtime
            migrate.broadcast(db.dsn, "down")
            migrate.broadcast(db.dsn, "down")
            assert state(db) == before
            assert db.connect().execute("select * from pg_policies order by 1, 2, 3").fetchall() == policies


def test_the_printed_sql_has_the_same_effect(databases: Databases, broadcasting: Database) -> None:
    with databases.clone(databases.migrated) as db:
        before = picture(db.dsn)
        for direction, expected in (("up", picture(broadcasting.dsn)), ("down", before)):
            run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", db.dsn, stdin=migrate.broadcast_sql(direction))
            assert picture(db.dsn) == expected


def test_no_way_back_while_it_is_on(db: Database) -> None:
    on = state(db)
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.downgrade(db.dsn, "base")
    assert str(caught.value) == (
        "Revision 0018 workspace assets: Broadcast is on; take it out first: consumer migrate broadcast --off."
    )
    assert state(db) == on
    migrate.broadcast(db.dsn, "down")
    migrate.downgrade(db.dsn, "base")


def test_a_database_that_is_too_old_is_refused(databases: Databases) -> None:
    with databases.clone(databases.migrated) as db:
        migrate.downgrade(db.dsn, "0017")
        with pytest.raises(SchemaTooOldError, match=f"at revision 0017, and this version needs {statements.HEAD}"):
            migrate.broadcast(db.dsn, "up")


def test_without_realtime_it_is_refused_and_nothing_is_made(databases: Databases) -> None:
    with databases.clone(databases.migrated) as db:
        with psycopg.connect(db.admin_dsn) as connection:
            connection.execute("drop function realtime.send(jsonb, text, text, boolean)")
        before = state(db)
        with pytest.raises(DatabaseRefusedError) as caught:
            migrate.broadcast(db.dsn, "up")
        assert str(caught.value) == (
            "There is no function realtime.send here to broadcast with; on Supabase, enable Realtime for this project."
        )
        assert state(db) == before
