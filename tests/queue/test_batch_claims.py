"""claim_jobs with a limit: as many as stand in line, in the order of single claims, and shared among workers."""

from random import Random

import pytest

from consumer.queue import Queue
from fleet_lines import users
from jobs import Hands

TYPES = ("sketch", "image_fast", "video_fast", "sdxl_image_fast", "sdxl_image_high")


def mixed(jobs, amount, waited=0):
    """Jobs of 12 users, five types and three priorities; a low one is the first in line."""
    crowd, random = users(jobs, 12), Random(11)
    for turn in range(amount):
        priority = random.choice([0, 0, 0, 2, 9]) if turn else 0
        jobs.add(random.choice(TYPES), user_id=crowd[turn % 12], priority=priority)
    jobs.run("update public.jobs set created_at = created_at - make_interval(secs => %s)", waited)


@pytest.mark.parametrize("limit", [50, 7, 2])
@pytest.mark.parametrize("waited", [0, 700], ids=["high ones first", "whatever their priority"])
def test_a_batch_is_what_single_claims_would_have_taken(jobs, begin, worker, limit, waited):
    mixed(jobs, 70, waited)
    one = begin(worker)
    singles = [one.take(*TYPES).id for _ in range(limit)]
    one.rollback()
    batch = worker.do(worker.queue.claim_jobs(TYPES, limit))
    assert [job.id for job in batch] == singles


def test_of_many_with_the_same_place_a_batch_takes_those_that_came_first(jobs, begin, worker):
    mixed(jobs, 60)
    jobs.run("update public.jobs set queue_at = date_bin('1 minute', queue_at, '2020-01-01')")
    one = begin(worker)
    singles = [one.take(*TYPES).id for _ in range(20)]
    one.rollback()
    assert {job.id for job in worker.do(worker.queue.claim_jobs(TYPES, 20))} == set(singles)


@pytest.mark.parametrize("there", [40, 60, 100])
def test_two_workers_share_without_overlap(jobs, worker, other, begin, there):
    mixed(jobs, there)
    busy = begin(other)
    theirs = busy.do(busy.queue.claim_jobs(TYPES, 30))
    mine = worker.do(worker.queue.claim_jobs(TYPES, 30))
    assert (len(theirs), len(mine)) == (30, min(30, there - 30))
    assert not {job.id for job in theirs} & {job.id for job in mine}


def test_a_batch_comes_in_the_order_of_service(jobs, worker):
    crowd = users(jobs, 3)
    for user in crowd * 3:
        jobs.add(user_id=user)
    batch = worker.do(worker.queue.claim_jobs(["sketch"], 9))
    assert [job.user_id for job in batch] == crowd * 3


def test_fewer_than_asked_for_are_no_error(jobs, runner, database):
    jobs.add()
    hands = Hands(runner, database)
    assert len(hands.do(Queue(database, hands.id).claim_jobs(["sketch", "image_fast"], 50))) == 1
    assert hands.do(hands.queue.claim_jobs(["sketch"], 50)) == []
