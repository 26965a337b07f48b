"""queue_position, as a frontend calls it."""

from uuid import uuid4

import psycopg
import pytest


@pytest.fixture
def position(db, jobs):
    """What the function tells this user, the job's own by default."""

    def position(job_id, user=None, role="authenticated"):
        [(place,)] = db.execute_as(user or jobs.user, "select public.queue_position(%s)", (job_id,), role)
        return place

    return position


def test_one_is_next_and_nought_is_running_and_nothing_is_over(jobs, worker, position):
    ids = [jobs.add() for _ in range(4)]
    assert [position(job_id) for job_id in ids] == [1, 2, 3, 4]
    first = worker.take()
    assert [position(job_id) for job_id in ids] == [0, 1, 2, 3]
    worker.fail(first)
    jobs.run("select public.cancel_job(%s)", ids[1])
    assert [position(job_id) for job_id in ids] == [None, None, 1, 2]
    worker.release(worker.take())
    assert [position(job_id) for job_id in ids] == [None, None, 1, 2]


def test_it_counts_who_is_served_before(db, jobs, worker, position):
    """Whoever they belong to; another engine's line is another line."""
    ids = [jobs.add() for _ in range(3)]
    jobs.add("image_fast")
    newcomer = jobs.add(user_id=(other := db.user()))
    urgent = jobs.add(user_id=db.user(), priority=3)
    places = {job_id: position(job_id, role="service_role") for job_id in [*ids, newcomer, urgent]}
    order = [urgent, ids[0], newcomer, ids[1], ids[2]]
    assert places == {job_id: place for place, job_id in enumerate(order, 1)}
    assert position(newcomer, other) == 3
    assert [worker.take().id for _ in order] == order


def test_what_waits_outside_the_line_is_behind_what_stands_in_it(jobs, position):
    later = jobs.add(available_at="2100-01-01T00:00:00Z")
    jobs.run("insert into consumer.user_limits (user_id, max_running) values (%s, 1)", jobs.user)
    ids = [jobs.add() for _ in range(3)]
    assert position(ids[0]) == 1
    assert min(position(job_id) for job_id in [*ids[1:], later]) >= 2
    jobs.run("delete from consumer.user_limits")


def test_of_other_peoples_jobs_it_tells_nothing(db, jobs, position):
    theirs = jobs.add()
    for job_id in (theirs, uuid4()):
        with pytest.raises(psycopg.DatabaseError) as caught:
            position(job_id, db.user())
        assert caught.value.sqlstate == "PT404"
        assert caught.value.diag.message_primary == "There is no such job of yours."


def test_only_who_is_logged_in_and_the_application_may_ask(db, jobs, position):
    job_id = jobs.add()
    assert position(job_id, role="service_role") == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        position(job_id, role="anon")


def test_a_job_of_a_type_that_is_not_ours_has_none(jobs, position):
    foreign = jobs.add("somebody_elses")
    with pytest.raises(psycopg.DatabaseError, match="There is no such job of yours"):
        position(foreign)
