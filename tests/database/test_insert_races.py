"""Inserts of many users at the same time: none waits for another in a circle, nor any other statement for them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import psycopg
import pytest

from consumer.statements import query
from fleet_lines import users
from jobs import Hands

BATCH = """
insert into public.jobs (user_id, job_type, metadata)
select id, (array['sketch', 'image_fast'])[1 + place %% 2], '{}'
from unnest(%s::uuid[]) with ordinality as u (id, place)
"""

TYPES = ["sketch", "image_fast"]
CLAIM = {"job_types": TYPES, "served": TYPES, "priority_seconds": 60.0}


@pytest.fixture
def together(db):
    """Runs functions of a connection at the same time; raises what any of them raised."""

    def together(*calls, rounds=1):
        ready = Barrier(len(calls))

        def work(call):
            with psycopg.connect(db.dsn, autocommit=True) as connection:
                connection.execute("set statement_timeout = '10s'")
                for number in range(rounds):
                    ready.wait(30)
                    call(connection, number)

        with ThreadPoolExecutor(len(calls)) as pool:
            for done in [pool.submit(work, call) for call in calls]:
                done.result()

    return together


def test_batches_with_their_users_in_opposite_order_do_not_wait_for_each_other(jobs, together):
    crowd = users(jobs, 20)

    def batch(order):
        return lambda connection, _: connection.execute(BATCH, (order,))

    def steps(order):
        def insert(connection, _):
            with connection.transaction():
                for user in order[:6]:
                    connection.execute(BATCH, ([user, user],))

        return insert

    backwards = crowd[::-1]
    together(batch(crowd), batch(backwards), steps(crowd), steps(backwards), rounds=20)
    assert jobs.value("select count(*) from public.jobs") == 20 * (2 * 20 + 2 * 12)


def test_inserts_meet_claims_cancels_retries_and_ends(jobs, together):
    crowd = users(jobs, 8)
    jobs.run("insert into consumer.user_limits (user_id, max_running) values (%s, 2)", crowd[0])
    worker = uuid4()

    def insert(order):
        return lambda connection, _: connection.execute(BATCH, (order * 2,))

    def work(connection, _):
        for _ in range(4):
            rows = connection.execute(query("claim_jobs", 5), {**CLAIM, "worker_id": worker}).fetchall()
            for job_id, *_ in rows:
                connection.execute("update public.jobs set status = 'completed' where id = %s", (job_id,))
            connection.execute(query("admit_jobs"), {"users": crowd[:1]})
            connection.execute(query("promote_due"))

    def change(function, status):
        some = "select id from public.jobs where status = %s order by random() limit 3"
        statement = f"select public.{function}(id) from ({some}) as j"

        def call(connection, _):
            for _ in range(4):
                connection.execute(statement, (status,))

        return call

    together(
        insert(crowd), insert(crowd[::-1]), work, work, change("cancel_job", "queued"),
        change("retry_job", "cancelled"), rounds=10,
    )  # fmt: skip
    jobs.run("delete from consumer.user_limits")
    assert jobs.value("select count(*) from public.jobs") == 10 * 2 * 16


def test_a_transaction_that_inserted_and_stays_open_holds_up_nobody(db, jobs, worker, begin, runner, pool):
    """Neither the claims of any connection, nor the inserts of others."""
    crowd = users(jobs, 3)
    jobs.run(BATCH, [crowd[0]] * 4)
    jobs.run("update consumer.clocks set tag = tag + interval '1 hour' where engine = 'sketch'")
    jobs.run(
        "insert into consumer.clocks select 'wan', n, now() from generate_series(0, 15) as n on conflict do nothing"
    )
    open_one = db.connect(autocommit=False)
    jobs.run("update public.jobs set status = 'completed' where job_type = 'image_fast'")
    open_one.execute("insert into public.jobs (user_id, job_type) values (%s, 'image_fast')", (crowd[1],))
    locked = jobs.run(
        "select slot from consumer.clocks where engine = 'wan' and slot >= 0 except"
        " select slot from (select slot from consumer.clocks where engine = 'wan' for update skip locked) as free"
    )
    assert locked == []
    with db.connect() as other:
        other.execute("set statement_timeout = '5s'")
        other.execute(BATCH, (crowd,))
    hands = Hands(runner, pool)
    assert {hands.take("sketch", "image_fast").user_id for _ in range(4)} >= {crowd[0]}
    open_one.rollback()
