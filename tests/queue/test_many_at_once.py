"""record_images: many jobs in one statement, each as if it were alone, and its last picture completes it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest

from consumer.errors import LeaseLostError
from consumer.job import Job, Medium
from consumer.together import AT_ONCE, MOST
from jobs import Hands, Jobs, Row, result, story
from workers import eventually

COUNT = 2
ENDED, LEFT = (True, True), (True, False)
"""Recorded, and with it completed or not."""


def claimed(
    jobs: Jobs, worker: Hands, amount: int, count: int = COUNT, users: Sequence[UUID] | None = None
) -> list[Job]:
    """Jobs in hand; of these users in turn, or all of one."""
    for user in users or [jobs.user] * amount:
        jobs.add(count=count, user_id=user, metadata={"prompt": "A harbour", "seed": 7})
    return worker.do(worker.queue.claim_jobs(["sketch"], amount))


def begun(jobs: Jobs, worker: Hands, amount: int, users: Sequence[UUID] | None = None) -> list[Job]:
    """Jobs of which nothing but the last picture is missing."""
    taken = claimed(jobs, worker, amount, users=users)
    for job in taken:
        assert worker.record(job, 0)
    return taken


async def last(worker: Hands, job: Job) -> Any:
    """The end of a job as delivery makes it."""
    return await worker.assets.record(job, Medium.image, result(job, COUNT - 1), COUNT)


def record_last(worker: Hands, taken: list[Job]) -> list[Any]:
    """What comes of the last picture of each, all at one moment."""

    async def together() -> list[Any]:
        return await asyncio.gather(*(last(worker, job) for job in taken), return_exceptions=True)

    return worker.do(together())


def record_last_while(worker: Hands, taken: list[Job], somebody: psycopg.Connection) -> tuple[list[Any], bool, Any]:
    """What comes of all but the first, whether that one waits for `somebody`, and what comes of it without them."""

    async def together() -> tuple[list[Any], bool, Any]:
        first, *others = [asyncio.create_task(last(worker, job)) for job in taken]
        ends = await asyncio.wait_for(asyncio.gather(*others), 20)
        waits = not first.done()
        await asyncio.to_thread(somebody.commit)
        return ends, waits, await first

    return worker.do(together())


def alone(jobs: Jobs, worker: Hands, count: int = COUNT) -> list[Row]:
    """The story of a job that is done step by step."""
    [job] = claimed(jobs, worker, 1, count)
    for index in range(count):
        assert worker.record(job, index)
    assert jobs.get(job.id)["status"] == "processing"
    assert worker.complete(job, count) == (True, True)
    return story(jobs, job)


@contextmanager
def refusing(jobs: Jobs, table: str, key: Any) -> Iterator[None]:
    """An application whose trigger raises on any change of one row."""
    jobs.run(
        f"""
        create function public.refuse() returns trigger language plpgsql as $$
        begin
          if new.id = '{key}' then raise exception 'not this one'; end if;
          return new;
        end $$;
        create trigger refuse before update of status on public.{table} for each row execute function public.refuse();
        """
    )
    try:
        yield
    finally:
        jobs.run("drop function public.refuse() cascade")


def test_many_jobs_end_as_each_would_have_ended_alone(jobs, worker):
    expected = alone(jobs, worker)
    taken = begun(jobs, worker, 5)

    assert record_last(worker, taken) == [ENDED] * len(taken)

    assert [story(jobs, job) for job in taken] == [expected] * len(taken)
    ends = jobs.run("select distinct completed_at from public.jobs where id = any(%s)", [job.id for job in taken])
    assert len(ends) == 1, "one statement has one moment"
    for job in taken:
        row, images, _ = jobs.rows(job.id)
        assert [asset["url"] for asset in row["metadata"]["assets"]] == [image["image_url"] for image in images]
        assert row["image_id"] == images[0]["id"]


def test_many_jobs_whose_pictures_are_all_recorded_at_one_moment_end_as_each_would_have_ended_alone(jobs, worker):
    expected = alone(jobs, worker)
    taken = claimed(jobs, worker, 5)

    async def together() -> list[tuple[bool, bool]]:
        calls = [
            worker.assets.record(job, Medium.image, result(job, index), COUNT if index == 0 else None)
            for index in reversed(range(COUNT))
            for job in taken
        ]
        return await asyncio.gather(*calls)

    assert worker.do(together()) == [ENDED] * COUNT * len(taken)
    assert [story(jobs, job) for job in taken] == [expected] * len(taken)


def test_more_pictures_than_all_statements_take_at_once_lose_no_job(jobs, worker):
    """A job's pictures may then be in different statements, of which one leaves it to the other, or to complete_job."""
    most = 6
    expected = alone(jobs, worker, most)
    taken = claimed(jobs, worker, 2 + AT_ONCE * MOST // most, most)
    places = [(job, index) for job in taken for index in range(most)]
    Random(7).shuffle(places)
    final = {job.id: index for job, index in places}

    async def one(job: Job, index: int) -> tuple[bool, bool]:
        count = most if final[job.id] == index else None
        return await worker.assets.record(job, Medium.image, result(job, index), count)

    async def together() -> list[tuple[bool, bool]]:
        return await asyncio.gather(*(one(*place) for place in places))

    ends = worker.do(together())
    assert {recorded for recorded, _ in ends} == {True}
    completed = {job.id for (job, _), (_, ended) in zip(places, ends, strict=True) if ended}
    told = {job.id for job in taken if jobs.get(job.id)["status"] == "completed"}
    assert told == completed
    for job in taken:
        if job.id not in completed:
            assert worker.complete(job, most) == (True, True)
        assert story(jobs, job) == expected


def test_a_lost_job_among_them_changes_nothing_and_holds_up_nobody(jobs, worker):
    taken = begun(jobs, worker, 4)
    lost = taken[1]
    jobs.set(lost.id, claim_id=lost.claim_id + 1000)
    before = jobs.rows(lost.id)

    first, refused, *others = record_last(worker, taken)

    assert isinstance(refused, LeaseLostError)
    assert [first, *others] == [ENDED] * 3
    assert jobs.rows(lost.id) == before
    assert [jobs.get(job.id)["status"] for job in taken] == ["completed", "processing", "completed", "completed"]
    assert worker.complete(lost, COUNT) == (False, False)
    assert jobs.rows(lost.id) == before


def test_one_with_an_asset_missing_is_not_completed_and_the_others_are(jobs, worker):
    missing, *rest = claimed(jobs, worker, 3)
    for job in rest:
        worker.record(job, 0)

    assert record_last(worker, [missing, *rest]) == [LEFT, ENDED, ENDED]

    row, images, _ = jobs.rows(missing.id)
    assert (row["status"], row["completed_at"], row["image_id"]) == ("processing", None, None)
    assert [image["status"] for image in images] == ["queued", "completed"]
    assert worker.complete(missing, COUNT) == (False, True)
    assert worker.record(missing, 0)
    assert worker.complete(missing, COUNT) == (True, True)
    assert story(jobs, missing) == story(jobs, rest[0])


@pytest.mark.parametrize("table", ["jobs", "images"])
def test_one_whose_row_is_locked_is_waited_for_alone(jobs, worker, db, table):
    taken = begun(jobs, worker, 4)
    key = taken[0].id if table == "jobs" else jobs.images(taken[0].id)[1]["id"]
    with db.connect(autocommit=False) as somebody:
        somebody.execute(f"select from public.{table} where id = %s for update", (key,))
        assert record_last_while(worker, taken, somebody) == ([ENDED] * 3, True, LEFT)

    assert jobs.get(taken[0].id)["status"] == "processing"
    assert worker.complete(taken[0], COUNT) == (True, True)
    assert story(jobs, taken[0]) == story(jobs, taken[1])


def test_one_that_the_application_only_refers_to_waits_for_nobody(jobs, worker, db):
    """As the insert of any row with a foreign key to jobs does."""
    taken = begun(jobs, worker, 3)
    with db.connect(autocommit=False) as somebody:
        somebody.execute("select from public.jobs where id = %s for key share", (taken[0].id,))
        assert record_last(worker, taken) == [ENDED] * 3
    assert story(jobs, taken[0]) == story(jobs, taken[1])


def test_one_whose_row_an_application_is_replacing_is_waited_for_alone(jobs, worker, db):
    taken = begun(jobs, worker, 3)
    with db.connect(autocommit=False) as somebody:
        insert = "insert into public.images (user_id, job_id, image_index) values (%s, %s, 1) returning id"
        [mine] = somebody.execute(insert, (jobs.user, taken[0].id)).fetchone()
        assert record_last_while(worker, taken, somebody) == ([ENDED] * 2, True, LEFT)
    assert worker.complete(taken[0], COUNT) == (True, True)

    row, images, _ = jobs.rows(taken[0].id)
    assert row["image_id"] == images[0]["id"]
    assert [(image["id"] == mine, image["status"]) for image in images] == [(False, "completed"), (True, "completed")]


def test_one_job_that_the_database_does_not_let_complete_fails_alone(jobs, worker):
    taken = begun(jobs, worker, 3)
    with refusing(jobs, "jobs", taken[1].id):
        assert record_last(worker, taken) == [LEFT] * 3, "the pictures are there, whatever becomes of the statement"

        assert worker.complete(taken[0], COUNT) == worker.complete(taken[2], COUNT) == (True, True)
        with pytest.raises(psycopg.errors.RaiseException, match="not this one"):
            worker.complete(taken[1], COUNT)
    assert [jobs.get(job.id)["status"] for job in taken] == ["completed", "processing", "completed"]
    assert worker.complete(taken[1], COUNT) == (True, True)
    assert story(jobs, taken[1]) == story(jobs, taken[0])


def test_one_picture_that_the_database_refuses_fails_alone(jobs, worker):
    taken = begun(jobs, worker, 3)
    with refusing(jobs, "images", jobs.images(taken[1].id)[1]["id"]):
        first, refused, third = record_last(worker, taken)
    assert (first, third) == (LEFT, LEFT)
    assert isinstance(refused, psycopg.errors.RaiseException)
    assert [image["status"] for image in jobs.images(taken[1].id)] == ["completed", "queued"]
    assert worker.complete(taken[1], COUNT) == (False, True)
    assert worker.complete(taken[0], COUNT) == worker.complete(taken[2], COUNT) == (True, True)

    assert record_last(worker, [taken[1]]) == [ENDED]
    assert story(jobs, taken[1]) == story(jobs, taken[0])


@contextmanager
def trigger(jobs: Jobs, when: str, body: str) -> Iterator[None]:
    """A trigger of the application's."""
    jobs.run(
        f"create function public.theirs() returns trigger language plpgsql security definer as $$ begin {body} end $$"
    )
    jobs.run(f"create trigger theirs {when} for each row execute function public.theirs()")
    try:
        yield
    finally:
        jobs.run("drop function public.theirs() cascade")


def test_a_trigger_of_an_image_that_writes_into_its_job_leaves_the_completion_to_each(jobs, worker):
    taken = begun(jobs, worker, 3)
    body = "update public.jobs set original_prompt = 'theirs' where id = new.job_id; return new;"
    with trigger(jobs, "before update of status on public.images", body):
        assert record_last(worker, taken) == [LEFT] * 3
    told = [jobs.images(job.id)[1] for job in taken]
    assert [image["status"] for image in told] == ["completed"] * 3
    assert len({image["updated_at"] for image in told}) == 1, "one statement recorded all"
    assert [worker.complete(job, COUNT) for job in taken] == [(True, True)] * 3


@pytest.mark.parametrize("table", ["images", "jobs"])
def test_users_come_in_order_so_that_what_an_application_counts_for_each_does_not_deadlock(jobs, worker, db, table):
    users = [db.user() for _ in range(6)]
    taken = begun(jobs, worker, 12, [*users, *reversed(users)])
    jobs.run("create table public.touched (place serial, user_id uuid)")
    body = "insert into public.touched (user_id) values (new.user_id); return null;"
    with trigger(jobs, f"after update of status on public.{table}", body):
        assert record_last(worker, taken) == [ENDED] * 12
    order = [row["user_id"] for row in jobs.run("select user_id from public.touched order by place")]
    jobs.run("drop table public.touched")
    assert len(order) == 12
    assert order == sorted(order)


def test_what_a_trigger_waits_for_holds_up_nobody_else(jobs, worker, db):
    """Such as a row that an application keeps for each user."""
    taken = begun(jobs, worker, 3, [db.user() for _ in range(3)])
    jobs.run("create table public.ledger as select id as user_id, 0 as jobs from auth.users")
    body = "update public.ledger set jobs = ledger.jobs + 1 where user_id = new.user_id; return null;"
    with trigger(jobs, "after update of status on public.jobs", body), db.connect(autocommit=False) as somebody:
        somebody.execute("select from public.ledger where user_id = %s for update", (taken[0].user_id,))
        assert record_last(worker, taken) == [LEFT] * 3
        assert [jobs.images(job.id)[1]["status"] for job in taken] == ["completed"] * 3
        assert [worker.complete(job, COUNT) for job in taken[1:]] == [(True, True)] * 2

        others = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"

        async def first() -> tuple[bool, Any]:
            waiting = asyncio.create_task(worker.queue.complete_job(taken[0], COUNT))
            await asyncio.to_thread(eventually, lambda: jobs.run(others), "somebody waits")
            waits = not waiting.done()
            await asyncio.to_thread(somebody.rollback)
            return waits, await waiting

        assert worker.do(first()) == (True, (True, True))
    assert jobs.value("select array_agg(jobs) from public.ledger where jobs > 0") == [1, 1, 1]
    jobs.run("drop table public.ledger")


@pytest.mark.parametrize("together", [True, False])
def test_what_a_trigger_makes_of_a_result_is_what_is_told(jobs, worker, together):
    body = "new.image_url := 'cdn/' || new.image_url; new.thumbnail_url := null; return new;"
    taken = begun(jobs, worker, 2)
    with trigger(jobs, "before update of image_url on public.images", body):
        if together:
            assert record_last(worker, taken) == [ENDED] * 2
        else:
            for job in taken:
                assert worker.record(job, 1)
                assert worker.complete(job, COUNT) == (True, True)
    for job in taken:
        row, images, _ = jobs.rows(job.id)
        told = [(asset["url"], asset["thumbnail_url"]) for asset in row["metadata"]["assets"]]
        assert told == [(image["image_url"], image["thumbnail_url"]) for image in images]
        assert told[1] == (f"cdn/{job.user_id}/{job.id}/1.png", None)


def test_a_result_that_a_trigger_refuses_does_not_complete_its_job(jobs, worker):
    taken = begun(jobs, worker, 2)
    with trigger(jobs, "before update of status on public.images", "new.status := 'failed'; return new;"):
        assert record_last(worker, taken) == [LEFT] * 2
    assert [worker.complete(job, COUNT) for job in taken] == [(False, True)] * 2
