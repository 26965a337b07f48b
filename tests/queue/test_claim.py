"""claim_jobs: who is served next, and what a claim writes."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from consumer import job_types
from consumer.database import Database
from consumer.errors import RejectedError
from consumer.queue import Queue
from consumer.request import parse
from consumer.statements import query
from jobs import Hands
from proxy import Proxy

WAN = ("image_fast", "video_fast")


def test_a_claim_counts_the_attempt_and_names_the_worker_and_a_claim_id(jobs, worker):
    job_id = jobs.add(count=2)
    before = jobs.get(job_id)

    job = worker.take()

    row = jobs.get(job_id)
    assert job.id == job_id
    assert (row["status"], row["attempts"], row["worker_id"], row["claim_id"]) == (
        "processing",
        1,
        worker.id,
        job.claim_id,
    )
    assert (row["queue_at"], row["available_at"], row["start_tag"]) == (None, None, before["start_tag"])
    assert row["started_at"] >= before["created_at"]
    assert [image["status"] for image in jobs.images(job_id)] == ["queued", "queued"]


def test_a_claim_hands_over_the_job_as_its_row_has_it(jobs, worker):
    job_id = jobs.add(metadata={"prompt": "A quiet harbour", "seed": 5}, original_prompt="harbour", max_attempts=2)

    job = worker.take()

    assert (job.id, job.user_id, job.job_type, job.engine) == (job_id, jobs.user, "sketch", "sketch")
    assert (job.attempts, job.max_attempts) == (1, 2)
    assert job.metadata == {"num_images": 1, "prompt": "A quiet harbour", "seed": 5}
    assert (job.original_prompt, job.enhanced_prompt) == ("harbour", None)


@pytest.mark.parametrize(
    "hostile",
    ['{"x":' + "9" * 5000 + "}", '{"x":' + "[" * 3000 + "]" * 3000 + "}", '{"y":' * 1500 + "1" + "}" * 1500],
    ids=["a number of 5000 digits", "3000 lists", "1500 objects"],
)
def test_a_request_that_python_cannot_hold_is_claimed_and_rejected(jobs, worker, hostile):
    job_id = jobs.add()
    jobs.run("update public.jobs set metadata = %s::jsonb, created_at = '-infinity' where id = %s", hostile, job_id)
    with pytest.raises(RejectedError, match="extreme numbers or nesting"):
        parse(worker.take(), job_types.load()["sketch"])


def test_a_job_without_a_limit_of_its_own_has_the_workers(jobs, runner, database):
    jobs.add()
    assert Hands(runner, database, tries=7).take().max_attempts == 7


def test_a_claim_id_is_never_drawn_twice(jobs, worker):
    jobs.add()
    drawn = []
    for _ in range(5):
        job = worker.take()
        drawn.append(job.claim_id)
        worker.release(job)
    assert drawn == sorted(set(drawn))


@pytest.mark.parametrize("sent", [{}, {"seed": None}], ids=["absent", "null"])
def test_a_missing_seed_is_drawn_and_kept_by_every_later_attempt(jobs, worker, sent):
    job_id = jobs.add(metadata=sent)

    first = worker.take()
    worker.retry(first, delay=0)
    worker.promote()
    second = worker.take()

    assert 0 <= first.metadata["seed"] < 2**31
    assert second.metadata["seed"] == first.metadata["seed"] == jobs.get(job_id)["metadata"]["seed"]


def test_two_jobs_draw_two_seeds(jobs, worker):
    jobs.add()
    jobs.add()
    assert worker.take().metadata["seed"] != worker.take().metadata["seed"]


def test_zero_is_a_seed(jobs, worker):
    jobs.add(metadata={"seed": 0})
    assert worker.take().metadata["seed"] == 0


def test_an_old_row_without_metadata_and_attempts_is_claimed_like_a_new_one(jobs, worker, begin):
    jobs.add()
    old = begin(worker)
    old.do(old.sql("alter table public.jobs alter metadata drop not null, alter attempts drop not null"))
    old.do(old.sql("update public.jobs set metadata = null, attempts = null"))
    job = old.take()
    assert (list(job.metadata), job.attempts) == (["seed"], 1)


def test_jobs_are_served_in_the_order_of_their_arrival(jobs, worker):
    arrived = [jobs.add() for _ in range(4)]
    assert [worker.take().id for _ in arrived] == arrived
    assert worker.claim() is None


def test_of_two_engines_the_one_with_the_older_head_is_served(jobs, worker):
    arrived = [jobs.add(name) for name in ("image_fast", "sketch", "sketch", "video_fast")]
    served = [worker.take("sketch", *WAN).id for _ in arrived]
    assert served == arrived


def test_an_unserved_type_at_the_head_lends_its_engine_no_precedence(jobs, worker):
    jobs.add("video_fast")
    sketch = jobs.add("sketch")
    picture = jobs.add("image_fast")

    served = [worker.take("sketch", "image_fast").id for _ in range(2)]

    assert served == [sketch, picture]


def test_an_engine_whose_head_is_taken_still_serves_the_next_in_its_line(jobs, worker, other, begin):
    first, second = jobs.add(), jobs.add()
    busy = begin(other)
    assert busy.take().id == first
    assert worker.take().id == second
    busy.rollback()
    assert worker.take().id == first


def test_only_served_job_types_are_claimed(jobs, worker):
    jobs.add("video_fast")
    assert worker.claim("sketch", "image_fast") is None
    assert worker.claim("video_fast") is not None


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "processing"},
        {"status": "completed"},
        {"status": "failed"},
        {"status": "cancelled"},
        {"queue_at": None},
        {"engine": None},
    ],
    ids=str,
)
def test_a_job_that_does_not_stand_in_line_is_not_claimed(jobs, worker, columns):
    jobs.set(jobs.add(), **columns)
    assert worker.claim() is None


def test_a_job_that_is_not_due_is_not_claimed(jobs, worker):
    now = jobs.value("select now()")
    jobs.add(available_at=now + timedelta(hours=1))
    assert worker.claim() is None


def test_a_job_that_was_due_before_it_was_sent_is_claimed_and_due_no_more(jobs, worker):
    job_id = jobs.add(available_at=jobs.value("select now() - interval '1 hour'"))
    assert worker.take().id == job_id
    assert jobs.get(job_id)["available_at"] is None


def test_a_job_of_a_type_that_is_not_ours_is_not_claimed(jobs, worker):
    foreign = jobs.add("somebody_elses")
    assert worker.claim("somebody_elses") is None
    assert jobs.get(foreign)["attempts"] == 0


def test_a_claim_locks_one_row_and_no_other(jobs, worker, begin):
    for _ in range(5):
        jobs.add()
    jobs.add("video_fast")
    busy = begin(worker)

    claimed = busy.take("sketch", *WAN)

    free = {row["id"] for row in jobs.run("select id from public.jobs for update skip locked")}
    everyone = {row["id"] for row in jobs.run("select id from public.jobs")}
    assert everyone - free == {claimed.id}


def test_a_claim_that_finds_nothing_locks_nothing(jobs, worker, begin):
    job_id = jobs.add("video_fast")
    idle = begin(worker)
    assert idle.claim("sketch", "image_fast") is None
    assert [row["id"] for row in jobs.run("select id from public.jobs for update skip locked")] == [job_id]


def test_a_claim_ends_the_workers_idleness_and_nobody_elses(jobs, worker, other):
    jobs.add()
    worker.beat(idle=True)
    other.beat(idle=True)

    worker.take()

    rows = jobs.workers()
    assert rows[worker.id]["idle_since"] is None
    assert rows[other.id]["idle_since"] is not None


def test_a_claim_that_finds_nothing_leaves_the_worker_idle(jobs, worker):
    worker.beat(idle=True)
    assert worker.claim() is None
    assert jobs.workers()[worker.id]["idle_since"] is not None


def test_many_workers_at_once_claim_every_job_once(jobs, db, runner):
    everyone = {jobs.add() for _ in range(200)}

    async def claim_all(database: Database) -> list:
        queue, claimed = Queue(database, uuid4()), []
        while jobs := await queue.claim_jobs(["sketch"]):
            claimed += [(job.id, job.claim_id) for job in jobs]
        return claimed

    async def rush() -> list:
        database = Database(db.dsn, size=8)
        await database.open()
        await database.pool.resize(8, 8)
        await database.pool.wait()
        try:
            return await asyncio.gather(*(claim_all(database) for _ in range(8)))
        finally:
            await database.close()

    shares = runner.run(rush())

    claims = [claim for share in shares for claim in share]
    assert len(claims) == 200
    assert {job_id for job_id, _ in claims} == everyone
    assert len({claim_id for _, claim_id in claims}) == 200
    assert sum(bool(share) for share in shares) > 1
    assert jobs.value("select max(attempts) from public.jobs") == 1


def test_a_claim_is_planned_once_and_not_each_time(db, runner):
    async def story():
        # Each connection has plans of its own.
        database = Database(db.dsn, size=1)
        await database.open()
        queue = Queue(database, uuid4())
        try:
            for _ in range(20):
                await queue.claim_jobs(["sketch"])
            async with database.pool.connection() as connection:
                rows = await connection.execute(
                    "select custom_plans, generic_plans from pg_prepared_statements where statement like '-- Take%'"
                )
                return await rows.fetchall()
        finally:
            await database.close()

    [plans] = runner.run(story())
    assert plans["custom_plans"] == 0
    assert plans["generic_plans"] > 0


def test_a_worker_compiles_nothing_and_sees_what_was_committed_whatever_its_role_has(db, runner):
    database = Database(f"{db.dsn}?options=-cjit%3Don%20-cdefault_transaction_isolation%3Dserializable")
    names = ["default_transaction_isolation", "jit"]

    async def story():
        await database.open()
        try:
            async with database.pool.connection() as connection:
                told = "select name, setting, reset_val from pg_settings where name = any (%s) order by name"
                return await (await connection.execute(told, (names,))).fetchall()
        finally:
            await database.close()

    assert [tuple(row.values()) for row in runner.run(story())] == [
        (names[0], "read committed", "serializable"),
        (names[1], "off", "on"),
    ]


def test_the_driver_remembers_the_text_of_a_claim():
    assert len(query("claim_jobs", 256)) <= MAX_CACHED_STATEMENT_LENGTH


def test_a_server_that_does_not_answer_a_new_connection_is_asked_through_another_one(db, runner):
    proxy = Proxy(db.dsn)
    proxy.stall_at(b"plan_cache_mode")
    database = Database(proxy.dsn, size=1, answer_seconds=0.5)

    async def story():
        await database.open()
        return await database.run("known_job_types", {})

    try:
        assert {"job_type": "sketch"} in runner.run(story())
        assert proxy.connections > 1
    finally:
        runner.run(database.close())
        proxy.close()
