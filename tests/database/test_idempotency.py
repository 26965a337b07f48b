"""idempotency_key: what a user sends twice under one key is there once."""

from threading import Barrier, Thread

import psycopg
import pytest

from postgres import Database

SEND = """
insert into jobs (user_id, job_type, metadata, idempotency_key)
select auth.uid(), 'sketch', '{}', unnest(%s::text[])
"""


def send(db: Database, user, *keys):
    db.execute_as(user, SEND, (list(keys),))


def refused(db, user, *keys):
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        send(db, user, *keys)
    assert caught.value.diag.constraint_name == "jobs_idempotency_key_idx"
    return True


def counts(jobs):
    return jobs.value("select count(*) from public.jobs"), jobs.value("select count(*) from public.images")


def test_the_second_one_is_refused_and_changes_nothing_whatever_became_of_the_first(db, jobs, worker):
    send(db, jobs.user, "a")
    before = jobs.rows(jobs.value("select id from public.jobs"))
    assert refused(db, jobs.user, "a")
    assert jobs.rows(before[0]["id"]) == before
    worker.fail(worker.take())
    assert refused(db, jobs.user, "a")
    send(db, jobs.user, "b")
    assert counts(jobs) == (2, 2)


def test_a_key_is_one_users_own_and_none_is_no_key(db, jobs):
    other = db.user()
    for user in (jobs.user, other):
        send(db, user, "a")
        send(db, user, None, None, None)
    assert counts(jobs) == (8, 8)


def test_a_batch_with_a_key_twice_is_refused_whole(db, jobs):
    assert refused(db, jobs.user, "a", "b", "a")
    assert counts(jobs) == (0, 0)


def test_what_is_refused_costs_no_place_in_line(db, jobs):
    send(db, jobs.user, "a")
    [first] = jobs.run("select finish_tag from public.jobs")
    for _ in range(3):
        refused(db, jobs.user, "a")
    send(db, jobs.user, "b")
    assert jobs.value("select start_tag from public.jobs where idempotency_key = 'b'") == first["finish_tag"]


def test_of_those_that_come_at_the_same_time_one_wins(db, jobs):
    ready, won = Barrier(4), []

    def one(number):
        for turn in range(5):
            ready.wait(10)
            try:
                send(db, jobs.user, f"key {turn}")
                won.append(turn)
            except psycopg.errors.UniqueViolation:
                pass

    threads = [Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [0, 1, 2, 3, 4]
    assert counts(jobs) == (5, 5)
