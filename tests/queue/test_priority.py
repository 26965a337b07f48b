"""Priority: so many seconds of real time for each step, ten steps at most, and no more service in the long run."""

from collections import Counter

import pytest

from consumer.queue import Queue
from fleet_lines import WORKERS, FleetOfFour, flood, users

STEP = 60.0


@pytest.fixture
def two(jobs):
    return users(jobs, 2)


def let_wait(jobs, seconds, where="true"):
    """As if these jobs stood in line for so many seconds already."""
    jobs.run(f"update public.jobs set created_at = now() - make_interval(secs => %s) where {where}", seconds)


@pytest.mark.parametrize("low", [0, -4])
@pytest.mark.parametrize("steps", [1, 3, 10, 2000])
def test_a_higher_one_goes_first_for_so_many_seconds_and_no_longer(jobs, worker, two, low, steps):
    bound = min(steps, 10) * STEP
    flood(jobs, two[0], 1, priority=low)
    flood(jobs, two[1], 2, priority=low + steps)
    let_wait(jobs, bound - 5, f"priority = {low}")
    assert worker.take().user_id == two[1]
    let_wait(jobs, bound + 5, f"priority = {low}")
    assert worker.take().user_id == two[0]


@pytest.mark.parametrize("senders", [1, 30])
def test_a_low_one_under_an_endless_stream_of_high_ones_starts_when_its_bound_is_over(jobs, worker, two, senders):
    worker.queue = Queue(worker.database, worker.id, priority_seconds=0.1)
    crowd = users(jobs, senders)
    flood(jobs, two[0], 1, priority=-3)
    low = jobs.value("select id from public.jobs")
    for turn in range(5000):
        flood(jobs, crowd[turn % senders], 2)
        if worker.take().id == low:
            break
    row = jobs.get(low)
    assert row["status"] == "processing"
    assert 0.3 <= (row["started_at"] - row["created_at"]).total_seconds() < 10
    assert turn > 0


@pytest.mark.parametrize("priority", [-5, 0, 5])
def test_among_equals_priority_changes_nothing(jobs, worker, two, priority):
    a, b = two
    for user in two:
        flood(jobs, user, 10, priority=priority)
    assert FleetOfFour(worker).starts(8) == [a, b] * 4


def test_of_equally_high_ones_of_several_types_the_first_in_line_goes_first(jobs, worker):
    types = ("image_fast", "sketch", "image_fast", "video_fast", "sketch")
    crowd = users(jobs, 5)
    jobs.add("image_fast")
    expected = [jobs.add(name, priority=5, user_id=user) for name, user in zip(types, crowd, strict=True)]
    assert [worker.take("sketch", "image_fast", "video_fast").id for _ in expected] == expected


def test_who_came_first_by_priority_is_behind_afterwards(jobs, worker, two):
    a, high = two
    flood(jobs, a, 60)
    flood(jobs, high, 30, priority=10)
    fleet = FleetOfFour(worker)
    assert fleet.starts(30) == [high] * 30
    flood(jobs, high, 60)
    begun = Counter(fleet.starts(34))
    assert begun[a] >= 30


def test_a_flood_of_high_ones_gets_its_share_and_no_more_once_the_bound_is_over(jobs, worker, two):
    a, high = two
    flood(jobs, a, 60)
    let_wait(jobs, 10 * STEP + 1)
    flood(jobs, high, 60, priority=10)
    begun = FleetOfFour(worker).starts(60)
    for length in range(1, 61):
        assert abs(begun[:length].count(a) - begun[:length].count(high)) <= 2


def test_a_newcomer_does_not_wait_behind_a_flood_because_high_ones_went_first(jobs, worker, two):
    a, high = two
    [newcomer] = users(jobs, 1)
    flood(jobs, a, 100)
    flood(jobs, high, 40, priority=10)
    fleet = FleetOfFour(worker)
    fleet.starts(40)
    flood(jobs, newcomer, 1)
    assert fleet.starts_until(newcomer) <= WORKERS


def test_priorities_as_far_apart_as_numbers_go_end_no_worker(jobs, worker):
    low, high = jobs.add(priority=-(2**31)), jobs.add(priority=2**31 - 1)
    assert {worker.take().id, worker.take().id} == {low, high}


def test_a_priority_of_nothing_is_none(jobs, worker):
    job = jobs.add()
    jobs.set(job, priority=7)
    jobs.run("alter table public.jobs alter priority drop not null")
    jobs.set(job, priority=None)
    assert (jobs.get(job)["priority"], worker.take().id) == (0, job)
