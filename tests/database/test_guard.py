"""On tables that were there before us: what a user may not write any more, and what a browser writes as before.

The platform granted everything and lets users do as they like with their rows. Each refusal is tried with its policies
in force, and with row level security switched off, as careless projects have it: then the guard stands alone.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

import adopted
from adopted import USER
from jobs import Jobs, Row, adapted
from postgres import Database, Databases
from workers import eventually

OTHER = UUID("00000000-0000-4000-8000-000000000002")
TABLES = ("jobs", "images", "videos")
DENIED = psycopg.errors.InsufficientPrivilege


class Platform(Jobs):
    """The platform's rows: as their owner sees them, and as a browser writes them."""

    def __init__(self, db: Database, policies: bool) -> None:
        self.db = db
        self.policies = policies
        super().__init__(db)
        self.user = USER
        if not policies:
            for table in TABLES:
                self.run(f"alter table public.{table} disable row level security")

    def sent(self, statement: str, *parameters: Any, who: UUID | None = USER) -> int:
        """One request of a browser: how many rows it wrote."""
        with self.db.as_user(who, "authenticated" if who else "anon") as connection:
            return connection.execute(statement.encode(), [adapted(value) for value in parameters]).rowcount

    def update(self, table: str, row: UUID, *, who: UUID | None = USER, **columns: Any) -> int:
        """Change one row as a browser does."""
        changes = ", ".join(f"{name} = %s" for name in columns)
        return self.sent(f"update public.{table} set {changes} where id = %s", *columns.values(), row, who=who)

    def upsert(self, table: str, *, who: UUID | None = USER, **columns: Any) -> int:
        """Send one row as supabase-js's upsert() does: every column that is sent is set where the row is there."""
        names, values = ", ".join(columns), ", ".join(["%s"] * len(columns))
        changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
        statement = f"insert into public.{table} ({names}) values ({values}) on conflict (id) do update set {changes}"
        return self.sent(statement, *columns.values(), who=who)

    def send(self, table: str, *, who: UUID | None = USER, **columns: Any) -> UUID:
        """Insert a row as a browser does; returns its id."""
        row = uuid4()
        sent: Row = {"id": row, "user_id": who, **({"prompt": "A picture"} if table == "images" else {}), **columns}
        names, values = ", ".join(sent), ", ".join(["%s"] * len(sent))
        assert self.sent(f"insert into public.{table} ({names}) values ({values})", *sent.values(), who=who) == 1
        return row

    def read(self, table: str, row: UUID) -> Row:
        return self._one(f"select * from public.{table} where id = %s", (row,))

    def job(self, job_type: str = "sdxl_image_fast", *, who: UUID = USER, **columns: Any) -> UUID:
        """A job of this user, sent by a browser."""
        return self.send("jobs", who=who, job_type=job_type, metadata={"num_images": 1}, **columns)

    def asset(self, table: str, *, who: UUID = USER) -> UUID:
        """The row of a new job, made by our trigger."""
        job = self.job("sdxl_image_fast" if table == "images" else "video_fast", who=who)
        return UUID(str(self.value(f"select id from public.{table} where job_id = %s", job)))


@pytest.fixture(scope="module", params=[True, False], ids=["with policies", "without row level security"])
def world(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Platform]:
    with adopted.adopted(databases) as db:
        yield Platform(db, request.param)


@pytest.fixture
def refused(world: Platform) -> Any:
    """Fails unless a write is refused with this sentence, and has changed nothing."""

    def refused(sentence: str, write: Any, *arguments: Any, **columns: Any) -> None:
        before = [world.run(f"select * from public.{table} order by id") for table in TABLES]
        with pytest.raises(DENIED) as caught:
            write(*arguments, **columns)
        assert caught.value.diag.message_primary == sentence
        assert [world.run(f"select * from public.{table} order by id") for table in TABLES] == before

    return refused


def nothing_happens(world: Platform, refused: Any, sentence: str, write: Any, *arguments: Any, **columns: Any) -> None:
    """The policies hide the row from the write; without them the guard says why not."""
    if world.policies:
        assert write(*arguments, **columns) == 0
    else:
        refused(sentence, write, *arguments, **columns)


# A job of ours.

SET_BY_THE_QUEUE = {
    "status": "completed", "attempts": 0, "max_attempts": 99, "priority": 9, "available_at": "2020-01-01",
    "start_tag": "2020-01-01", "queue_at": "2020-01-01", "engine": "wan", "worker_id": uuid4(), "claim_id": 1,
    "started_at": None, "completed_at": "2020-01-01", "error_message": "Hm.", "errors": [{"message": "Hm."}],
}  # fmt: skip
INSERTED_FOR_GOOD = {
    "id": uuid4(), "user_id": OTHER, "job_type": "rv51_fast", "metadata": {"num_images": 6}, "original_prompt": "A cat",
    "enhanced_prompt": "A fine cat", "idempotency_key": "again",
}  # fmt: skip


@pytest.fixture
def running(world: Platform) -> UUID:
    """A job that a worker has."""
    job = world.job()
    world.set(job, status="processing", attempts=1, started_at="2026-01-01", queue_at=None)
    return job


@pytest.mark.parametrize("column", SET_BY_THE_QUEUE)
def test_a_user_does_not_set_what_the_queue_sets(world: Platform, refused: Any, running: UUID, column: str) -> None:
    sentence = f"{column} is set by the queue; leave it out."
    refused(sentence, world.update, "jobs", running, **{column: SET_BY_THE_QUEUE[column]})


@pytest.mark.parametrize(("status", "function"), [("cancelled", "cancel_job"), ("queued", "retry_job")])
def test_a_user_is_told_how_a_job_is_cancelled_and_retried(
    world: Platform, refused: Any, running: UUID, status: str, function: str
) -> None:
    refused(f"status is set by the queue; call {function}.", world.update, "jobs", running, status=status)


@pytest.mark.parametrize("column", INSERTED_FOR_GOOD)
def test_a_request_stays_as_it_was_inserted(world: Platform, refused: Any, running: UUID, column: str) -> None:
    sentence = f"{column} stays as it was inserted; insert another job instead."
    refused(sentence, world.update, "jobs", running, **{column: INSERTED_FOR_GOOD[column]})


@pytest.mark.parametrize("table", TABLES)
def test_values_that_stay_the_same_are_no_offence(world: Platform, table: str) -> None:
    row = world.job() if table == "jobs" else world.asset(table)
    before = world.read(table, row)
    renewed = {"version": before.pop("version"), "updated_at": before.pop("updated_at")}
    assert world.update(table, row, **before) == 1
    assert world.read(table, row).items() >= before.items()
    assert world.read(table, row)["version"] > renewed["version"]


@pytest.mark.parametrize("link", ["image_id", "video_id"])
def test_a_user_links_own_rows_alone(world: Platform, refused: Any, link: str) -> None:
    table, thing = ("images", "an image") if link == "image_id" else ("videos", "a video")
    job, theirs, mine = world.job(), world.send(table, who=OTHER), world.send(table)
    for foreign in (theirs, uuid4()):
        refused(f"{link} must name {thing} of your own.", world.update, "jobs", job, **{link: foreign})
    for value in (mine, None):
        assert world.update("jobs", job, **{link: value}) == 1
        assert world.get(job)[link] == value


def test_a_user_writes_what_is_the_applications_in_a_job(world: Platform, running: UUID) -> None:
    columns: Row = {
        "project_id": uuid4(), "quality_rating": 4, "moderation_status": "approved", "moderation_notes": "Fine.",
        "workspace_session_id": uuid4(), "template_name": "harbours", "destination": "workspace",
    }  # fmt: skip
    assert world.update("jobs", running, **columns) == 1
    assert world.get(running).items() >= columns.items()


# A picture or a video of a job of ours.

RESULT = {
    "status": "completed", "thumbnail_url": "mine.webp", "seed": 5, "file_size": 5, "format": "webp", "progress": 100,
    "error_message": "Hm.", "managed": False, "user_id": OTHER, "job_id": None, "image_index": 4, "id": uuid4(),
}  # fmt: skip


@pytest.mark.parametrize("column", [*RESULT, "url"])
@pytest.mark.parametrize("table", ["images", "videos"])
def test_a_user_does_not_write_results(world: Platform, refused: Any, table: str, column: str) -> None:
    value = RESULT.get(column, "mine")
    if column == "url":
        column = f"{table[:-1]}_url"
    row = world.asset(table)
    refused(f"{column} is set by the queue; leave it out.", world.update, table, row, **{column: value})


@pytest.mark.parametrize("table", ["images", "videos"])
def test_a_row_does_not_change_to_another_job(world: Platform, refused: Any, table: str) -> None:
    row, job = world.asset(table), world.job()
    refused("job_id is set by the queue; leave it out.", world.update, table, row, job_id=job)


@pytest.mark.parametrize("table", ["images", "videos"])
def test_a_user_writes_what_is_the_applications_in_a_result(world: Platform, table: str) -> None:
    row = world.asset(table)
    columns: Row = {
        "title": "Harbour",
        "project_id": uuid4(),
        "signed_url": "https://example.com",
        "enhancement_time_ms": 3,
    }
    if table == "images":
        columns |= {"moderation_status": "approved", "image_urls": ["a", "b"]}
    assert world.update(table, row, **columns) == 1
    assert world.read(table, row).items() >= columns.items()


@pytest.mark.parametrize("table", ["images", "videos"])
def test_no_result_is_brought_into_a_job(world: Platform, refused: Any, table: str) -> None:
    job = world.job("sdxl_image_fast" if table == "images" else "video_fast")
    url: Row = {f"{table[:-1]}_url": "old.mp4"}
    sentence = "status must not be completed: only a result makes it so."
    refused(sentence, world.send, table, job_id=job, status="completed", **url)
    old = world.send(table, status="completed", **url)
    refused(sentence, world.update, table, old, job_id=job, image_index=0)


@pytest.mark.parametrize("table", ["images", "videos"])
def test_no_row_is_brought_into_somebody_elses_job(world: Platform, refused: Any, table: str) -> None:
    job = world.job(who=OTHER)
    row = world.send(table)
    for managed in ({}, {"image_index": 3}):
        refused("job_id must name a job of your own.", world.send, table, job_id=job, **managed)
    refused("job_id must name a job of your own.", world.update, table, row, job_id=job)


@pytest.mark.parametrize("table", ["images", "videos"])
def test_no_row_of_somebody_else_is_brought_into_a_job(world: Platform, refused: Any, table: str) -> None:
    refused("user_id must be your own id.", world.send, table, job_id=world.job(), user_id=OTHER)


@pytest.mark.parametrize("table", ["images", "videos"])
def test_nobody_makes_a_row_that_looks_like_ours(world: Platform, refused: Any, table: str) -> None:
    sentence = "managed is set by the queue; leave it out."
    refused(sentence, world.send, table, job_id=world.job(), image_index=5, managed=True)
    refused(sentence, world.send, table, managed=True)
    refused(sentence, world.update, table, world.send(table), managed=True)


# Rows of somebody else.


@pytest.mark.parametrize("who", [OTHER, None], ids=["another user", "anon"])
@pytest.mark.parametrize("table", TABLES)
def test_rows_of_ours_are_written_by_their_user_alone(
    world: Platform, refused: Any, table: str, who: UUID | None
) -> None:
    """Even where a policy of the application lets everybody write."""
    world.run("create policy everybody on public.jobs using (true)")
    world.run("create policy everybody on public.images using (true)")
    world.run("create policy everybody on public.videos using (true)")
    try:
        row = world.job() if table == "jobs" else world.asset(table)
        sentence = "The job must be your own." if table == "jobs" else "The job of this row must be your own."
        harmless = {"project_id": uuid4()}
        nothing_happens(world, refused, sentence, world.update, table, row, who=who, **harmless)
        delete = f"delete from public.{table} where id = %s"
        nothing_happens(world, refused, sentence, world.sent, delete, row, who=who)
        assert world.read(table, row)["project_id"] is None
    finally:
        for name in TABLES:
            world.run(f"drop policy everybody on public.{name}")


def test_anon_inserts_nothing_of_ours(world: Platform, refused: Any) -> None:
    job = "insert into public.jobs (user_id, job_type) values (%s, 'sdxl_image_fast')"
    refused("user_id must be your own id.", world.sent, job, USER, who=None)
    image = "insert into public.images (user_id, prompt, job_id) values (%s, 'A picture', %s)"
    refused("job_id must name a job of your own.", world.sent, image, USER, world.job(), who=None)


def test_everybody_reads_what_the_application_shows(world: Platform) -> None:
    image = world.asset("images")
    world.run("create policy shown on public.images for select using (true)")
    assert world.sent("select from public.images where id = %s", image, who=OTHER) == 1
    world.run("drop policy shown on public.images")


@pytest.mark.parametrize("who", [USER, None], ids=["authenticated", "anon"])
@pytest.mark.parametrize("table", TABLES)
def test_nobody_truncates(world: Platform, refused: Any, table: str, who: UUID | None) -> None:
    sentence = f"{table} must not be truncated; delete your own rows."
    refused(sentence, world.sent, f"truncate public.{table} cascade", who=who)


# Rows of the application.


def test_jobs_of_the_application_are_its_own(world: Platform, refused: Any) -> None:
    job = world.job("rv51_fast")
    columns: Row = {
        "status": "completed", "attempts": 3, "max_attempts": 9, "metadata": {"seed": 1}, "error_message": "Hm.",
        "original_prompt": "A cat", "started_at": None, "image_id": world.send("images"),
    }  # fmt: skip
    assert world.update("jobs", job, **columns) == 1
    assert world.get(job).items() >= columns.items()
    for column in ("engine", "queue_at", "worker_id", "claim_id"):
        sentence = f"{column} is set by the queue; leave it out."
        refused(sentence, world.update, "jobs", job, **{column: SET_BY_THE_QUEUE[column]})
    assert world.sent("delete from public.jobs where id = %s", job) == 1


@pytest.mark.parametrize("table", ["images", "videos"])
@pytest.mark.parametrize("job_type", [None, "rv51_fast"], ids=["of no job", "of a job of theirs"])
def test_results_of_the_application_are_its_own(world: Platform, table: str, job_type: str | None) -> None:
    job = world.job(job_type) if job_type else None
    url = f"{table[:-1]}_url"
    sent: Row = {"job_id": job, "status": "completed", "image_index": 2, url: "mine"}
    row = world.send(table, **sent)
    columns: Row = {"status": "failed", url: "other", "seed": 3, "file_size": 5, "format": "webp", "image_index": 3}
    assert world.update(table, row, **columns) == 1
    assert world.read(table, row).items() >= columns.items()
    assert world.update(table, row, job_id=None) == 1
    assert world.sent(f"delete from public.{table} where id = %s", row) == 1


# What browsers do.


def test_a_browser_sends_a_job_and_then_its_rows(world: Platform) -> None:
    job = world.send("jobs", job_type="sdxl_image_fast", status="queued", metadata={"num_images": 3})
    rows = [world.send("images", job_id=job, image_index=index, status="pending") for index in (2, 0, 1)]
    assert world.update("jobs", job, image_id=rows[1]) == 1
    assert [(i["image_index"], i["id"]) for i in world.images(job)] == [(0, rows[1]), (1, rows[2]), (2, rows[0])]
    assert world.update("images", rows[0], title="The third", updated_at="2026-01-01") == 1


def test_a_browser_sends_rows_then_the_job_then_the_links(world: Platform) -> None:
    rows = [world.send("images", status="queued") for _ in range(2)]
    names = {"num_images": 2, "image_ids": list(map(str, rows))}
    job = world.send("jobs", job_type="sdxl_image_fast", status="queued", metadata=names, image_id=rows[0])
    for index, row in enumerate(rows):
        assert world.update("images", row, job_id=job, image_index=index) == 1
    assert [(i["id"], i["status"]) for i in world.images(job)] == [(row, "queued") for row in rows]


def test_a_browser_links_a_row_without_a_place(world: Platform) -> None:
    job, row = world.job(), world.send("images")
    assert world.update("images", row, job_id=job) == 1
    assert world.update("images", row, image_index=0) == 1
    assert [i["id"] for i in world.images(job)] == [row]


@pytest.mark.parametrize("order", ["video first", "job first"])
def test_a_browser_sends_a_video(world: Platform, order: str) -> None:
    if order == "video first":
        video = world.send("videos", status="queued")
        job = world.job("video_fast", video_id=video)
    else:
        job = world.job("video_fast")
        video = world.send("videos", status="draft")
        assert world.update("jobs", job, video_id=video) == 1
    assert [v["id"] for v in world.videos(job)] == [video]


def test_a_row_that_comes_late_takes_over_what_is_done(world: Platform) -> None:
    """The guard looks at what was sent, and not at what our own trigger makes of it."""
    job = world.job()
    done = "update public.images set status = 'completed', image_url = '0.png', seed = 7 where job_id = %s"
    world.run(done, job)
    row = world.send("images", job_id=job, image_index=0, status="queued")
    assert [(i["id"], i["status"], i["image_url"]) for i in world.images(job)] == [(row, "completed", "0.png")]


def test_a_user_cancels_and_retries(world: Platform, running: UUID) -> None:
    assert world.db.execute_as(USER, "select public.cancel_job(%s)", [running]) == [("cancelled",)]
    assert world.db.execute_as(USER, "select public.retry_job(%s)", [running]) == [("queued",)]
    assert world.get(running)["status"] == "queued"


def test_a_user_deletes_own_rows_and_what_hangs_on_them(world: Platform) -> None:
    """The platform's keys cascade from a picture to its job and to its other pictures."""
    job = world.job()
    [image] = world.images(job)
    world.update("jobs", job, image_id=image["id"])
    assert world.sent("delete from public.images where id = %s", image["id"]) == 1
    assert world.run("select id from public.jobs where id = %s", job) == []
    other = world.job()
    assert world.sent("delete from public.jobs where id = %s", other) == 1
    assert world.images(other) == []


def test_the_application_may_do_in_a_privileged_function_what_it_likes(world: Platform) -> None:
    job = world.job()
    world.run(
        "create function public.approve(job uuid) returns void language sql security definer set search_path = '' as"
        " 'update public.jobs set max_attempts = 7 where id = job'"
    )
    world.db.execute_as(USER, "select public.approve(%s)", [job])
    assert world.get(job)["max_attempts"] == 7
    world.run("drop function public.approve(uuid)")


# Upserts.


def test_an_upsert_of_a_new_row_is_an_insert(world: Platform, refused: Any) -> None:
    job = world.job()
    sent: Row = {"user_id": USER, "prompt": "A picture", "job_id": job, "image_index": 0}
    refused(
        "status must not be completed: only a result makes it so.",
        world.upsert, "images", id=uuid4(), status="completed", **sent,
    )  # fmt: skip
    row = uuid4()
    assert world.upsert("images", id=row, status="queued", **sent) == 1
    assert [i["id"] for i in world.images(job)] == [row]


@pytest.mark.parametrize("table", ["images", "videos"])
def test_an_upsert_of_a_whole_row_changes_what_has_changed(world: Platform, refused: Any, table: str) -> None:
    """As a browser does that has read a finished row, and sends it back with another title."""
    row = world.asset(table)
    world.run(f"update public.{table} set status = 'completed', {table[:-1]}_url = '0', seed = 7 where id = %s", row)
    whole = world.read(table, row)
    assert whole["managed"]
    assert world.upsert(table, **(whole | {"title": "Harbour"})) == 1
    assert world.read(table, row).items() >= {"title": "Harbour", "status": "completed", "seed": 7}.items()
    sentence = "status is set by the queue; leave it out."
    refused(sentence, world.upsert, table, **(whole | {"status": "queued"}))


def test_an_upsert_of_a_job_sets_what_is_the_applications(world: Platform, refused: Any, running: UUID) -> None:
    sent: Row = {"id": running, "user_id": USER, "job_type": "sdxl_image_fast"}
    assert world.upsert("jobs", **sent, destination="workspace") == 1
    assert world.get(running).items() >= {"destination": "workspace", "status": "processing"}.items()
    refused("status is set by the queue; call retry_job.", world.upsert, "jobs", **sent, status="queued")
    sentence = "metadata stays as it was inserted; insert another job instead."
    refused(sentence, world.upsert, "jobs", **sent, metadata={"num_images": 6})


def test_an_upsert_does_not_reach_somebody_elses_row(world: Platform) -> None:
    image, job = world.asset("images"), world.job()
    attempts: list[tuple[str, Row]] = [
        ("images", {"id": image, "prompt": "Mine now", "user_id": OTHER}),
        ("jobs", {"id": job, "job_type": "sdxl_image_fast", "user_id": OTHER}),
    ]
    for table, columns in attempts:
        with pytest.raises(DENIED):
            world.upsert(table, who=OTHER, **columns)
        assert world.read(table, columns["id"])["user_id"] == USER


def test_a_row_that_is_deleted_in_the_middle_of_its_upsert_is_not_made_anew_unguarded(world: Platform) -> None:
    """The upsert has found the row, and is not written yet, when its user deletes the row by another request."""
    image = world.asset("images")
    forged = world.read("images", image) | {"status": "completed", "image_url": "forged"}
    world.run(
        "create function public.dawdle() returns trigger language plpgsql as"
        " 'begin perform pg_advisory_xact_lock(5); return new; end'"
    )
    # By its name it comes after the guard.
    world.run("create trigger dawdle before insert on public.images for each row execute function public.dawdle()")
    waiting = (
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like %s"
    )
    with world.db.connect(world.db.admin_dsn) as holder, ThreadPoolExecutor() as pool:
        holder.execute("select pg_advisory_lock(5)")
        upsert = pool.submit(world.upsert, "images", **forged)
        eventually(lambda: holder.execute(waiting, ("insert%",)).fetchall(), "the upsert waits")
        delete = pool.submit(world.sent, "delete from public.images where id = %s", image)
        eventually(
            lambda: delete.done() or holder.execute(waiting, ("delete%",)).fetchall(), "the delete is done or waits"
        )
        holder.execute("select pg_advisory_unlock(5)")
        with pytest.raises(DENIED, match=r"^status is set by the queue; leave it out\."):
            upsert.result()
        assert delete.result() == 1
    world.run("drop function public.dawdle() cascade")


def test_an_upsert_that_does_nothing_does_nothing(world: Platform) -> None:
    image = world.asset("images")
    statement = "insert into public.images (id, user_id, prompt, status) values (%s, %s, '', 'completed')"
    assert world.sent(f"{statement} on conflict do nothing", image, USER) == 0
    assert world.read("images", image)["status"] == "queued"


# Others.


def test_the_service_role_and_the_owner_are_not_guarded(world: Platform, running: UUID) -> None:
    with world.db.as_user(None, "service_role") as connection:
        changed = connection.execute("update public.jobs set max_attempts = 5 where id = %s", (running,))
        assert changed.rowcount == 1
    world.set(running, metadata={"num_images": 1, "seed": 1})
    assert world.get(running).items() >= {"max_attempts": 5, "metadata": {"num_images": 1, "seed": 1}}.items()
