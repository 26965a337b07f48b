"""The order of service, with four workers: nobody waits behind another's thousand, nobody pays for idle capacity."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from threading import Barrier, Thread

import pytest

from fleet_lines import WORKERS, FleetOfFour, flood, users

SDXL, WAN, BOTH = "sdxl_image_fast", "image_fast", ("sdxl_image_fast", "image_fast")


@pytest.fixture(autouse=True)
def no_limits(jobs):
    jobs.run("delete from consumer.user_limits")


@pytest.fixture
def two(jobs):
    return users(jobs, 2)


@pytest.mark.parametrize(
    ("amount", "theirs", "mine"),
    [
        (1000, "sketch", "sketch"),
        (60, "video_high", "image_fast"),
        (60, "image_fast", "video_high"),
        (60, SDXL, WAN),
    ],
    ids=str,
)
def test_a_newcomer_is_not_behind_a_flood(jobs, worker, two, amount, theirs, mine):
    a, b = two
    fleet = FleetOfFour(worker, theirs, mine)
    flood(jobs, a, amount, theirs)
    fleet.starts(2 * WORKERS)
    flood(jobs, b, 1, mine)
    assert fleet.starts_until(b) <= WORKERS


@pytest.mark.parametrize("limit", [1, 2, 16])
def test_a_row_that_somebody_has_locked_does_not_let_the_rest_of_its_line_go_first(jobs, worker, two, db, limit):
    """Such as a job for which an application is about to insert an image."""
    (a, b), types = two, ("sdxl_image_fast", "sdxl_image_high")
    flood(jobs, a, 40, types[0])
    flood(jobs, b, 1, types[1])
    [first] = jobs.run("select id from public.jobs where job_type = %s order by queue_at, created_at limit 1", types[0])
    served = []
    with db.connect(autocommit=False) as application:
        application.execute("select from public.jobs where id = %s for no key update", (first["id"],))
        while b not in served:
            served += [job.user_id for job in worker.do(worker.queue.claim_jobs(types, limit))]
    assert served.index(b) <= WORKERS


@pytest.mark.parametrize("waits_unserved", [False, True], ids=["alone", "beside a type that nobody serves"])
@pytest.mark.parametrize(("flooded", "rested"), [(WAN, SDXL), (SDXL, WAN)], ids=str)
def test_an_engine_that_rested_while_another_worked_gives_no_precedence(
    jobs, worker, two, flooded, rested, waits_unserved
):
    a, b = two
    if waits_unserved:
        flood(jobs, a, 1, "video_fast" if rested == WAN else "sdxl_image_high")
    flood(jobs, a, 120, flooded)
    fleet = FleetOfFour(worker, *BOTH)
    fleet.starts(120)
    flood(jobs, a, 30, rested)
    flood(jobs, b, 1, flooded)
    assert fleet.starts_until(b) <= WORKERS


def test_an_engine_that_is_new_starts_where_the_others_are(jobs, worker, two):
    a, b = two
    jobs.run("update consumer.clocks set tag = tag - interval '30 days'")
    flood(jobs, a, 100)
    fleet = FleetOfFour(worker, "sketch", "novel")
    fleet.starts(WORKERS)
    jobs.run("insert into consumer.job_types values ('novel', 'novel', 'image', 1, 1, 15)")
    flood(jobs, b, 1, "novel")
    others = fleet.starts_until(b)
    jobs.run("delete from consumer.job_types where job_type = 'novel'")
    assert others <= WORKERS


def test_who_used_idle_capacity_is_not_punished_and_who_comes_is_not_favoured(jobs, worker, two):
    a, b = two
    fleet = FleetOfFour(worker)
    flood(jobs, a, 100)
    fleet.starts(100)
    for user in (a, b):
        flood(jobs, user, 30)
    begun = fleet.starts(60)
    for length in range(1, 61):
        assert abs(begun[:length].count(a) - begun[:length].count(b)) <= 2


def test_each_of_many_users_has_started_once_before_anybody_starts_twice(jobs, worker):
    crowd, floods = users(jobs, 200), users(jobs, 2)
    for user in floods:
        flood(jobs, user, 300)
    jobs.run(
        "insert into public.jobs (user_id, job_type, metadata)"
        " select id, 'sketch', '{}' from unnest(%s::uuid[]) as u (id) cross join generate_series(1, 5)",
        crowd,
    )
    begun = FleetOfFour(worker).starts(202)
    assert set(begun) == {*crowd, *floods}


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"weight": 3}, {}),
        ({"job_type": SDXL}, {"job_type": "sdxl_image_high", "metadata": {"num_images": 4}, "ratio": 8 / 3}),
        ({"metadata": {"num_images": 2}}, {"metadata": {"num_images": 6}}),
    ],
    ids=["weight", "cost", "number of images"],
)
def test_weight_cost_and_number_of_images_count(jobs, worker, two, more, less):
    ratio = less.pop("ratio", 3)
    weight = more.pop("weight", None)
    if weight:
        jobs.run("insert into consumer.user_limits (user_id, weight) values (%s, %s)", two[0], weight)
    for user, what in zip(two, (more, less), strict=True):
        flood(jobs, user, 50, **what)
    begun = Counter(FleetOfFour(worker, "sketch", SDXL, "sdxl_image_high").starts(44))
    assert begun[two[0]] == pytest.approx(ratio * begun[two[1]], rel=0.1)


@pytest.mark.parametrize("workers", [1, WORKERS])
@pytest.mark.parametrize("at_once", [1, 6])
def test_who_sends_the_next_job_when_the_last_one_ended_gets_no_more_than_a_fair_share(
    jobs, worker, two, workers, at_once
):
    a, b = two
    fleet = FleetOfFour(worker, workers=workers)
    flood(jobs, a, 100)
    flood(jobs, b, at_once)
    fleet.ended = lambda job: flood(jobs, b, 1) if job.user_id == b else None
    begun = Counter(fleet.starts(40))
    fair = 20 if at_once >= workers else 20 // workers
    assert fair // 2 <= begun[b] <= 20 + workers


def test_the_jobs_that_one_user_sends_through_many_connections_come_one_after_the_other(jobs, db, two):
    ready, senders, each = Barrier(6), 6, 15

    def send() -> None:
        for _ in range(3):
            ready.wait(10)
            db.execute_as(
                two[0],
                "insert into jobs (user_id, job_type, metadata)"
                " select auth.uid(), 'sketch', '{}' from generate_series(1, %s)",
                (each,),
            )

    threads = [Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = jobs.run("select start_tag, finish_tag from public.jobs order by start_tag")
    assert len(rows) == 3 * senders * each
    assert all(before["finish_tag"] <= after["start_tag"] for before, after in pairwise(rows))


def test_what_was_cancelled_in_line_costs_nothing(jobs, worker, two):
    a, b = two
    flood(jobs, b, 20)
    flood(jobs, a, 50)
    jobs.run("select public.cancel_job(id) from public.jobs where user_id = %s", a)
    flood(jobs, a, 1)
    assert FleetOfFour(worker).starts_until(a) <= WORKERS


def test_what_was_cancelled_in_hand_costs_what_it_would_have_cost(jobs, worker, two):
    a, b = two
    flood(jobs, a, 5)
    flood(jobs, b, 20)
    fleet = FleetOfFour(worker, workers=1)
    assert fleet.starts(1) == [a]
    jobs.run("select public.cancel_job(id) from public.jobs where user_id = %s", a)
    flood(jobs, a, 5)
    assert fleet.starts(3) == [b, b, a]


@pytest.mark.parametrize("way", ["release", "retry", "rescue"])
def test_a_job_that_a_worker_gives_back_keeps_its_place(jobs, worker, other, two, way):
    a, b = two
    flood(jobs, a, 3)
    job = worker.take()
    flood(jobs, b, 5)
    match way:
        case "release":
            worker.release(job)
        case "retry":
            worker.retry(job, delay=0)
            other.promote()
        case _:
            other.rescue(worker.id, None)
    assert other.take().id == job.id


def test_a_job_that_its_user_retries_goes_where_a_new_one_would(jobs, worker, two):
    a, b = two
    flood(jobs, a, 3)
    flood(jobs, b, 3)
    fleet = FleetOfFour(worker, workers=1)
    job = fleet.start()
    fleet.start()
    jobs.run("select public.retry_job(%s)", job.id)
    order = [fleet.start() for _ in range(5)]
    mine = [each.id for each in order if each.user_id == job.user_id]
    assert mine.index(job.id) == len(mine) - 1


def test_a_flood_that_waited_for_its_time_does_not_come_before_the_others_then(jobs, worker, two):
    a, b = two
    later = jobs.value("select now()") + timedelta(hours=1)
    jobs.run(
        "insert into public.jobs (user_id, job_type, metadata, available_at)"
        " select %s, 'sketch', '{}', %s from generate_series(1, 100)",
        a,
        later,
    )
    flood(jobs, a, 1)
    flood(jobs, b, 120)
    fleet = FleetOfFour(worker)
    assert fleet.starts_until(a) <= WORKERS
    fleet.starts(118)
    jobs.run("update public.jobs set available_at = now() where available_at is not null")
    assert worker.promote()[0] == 100
    flood(jobs, b, 1)
    assert fleet.starts_until(b) <= WORKERS


def test_nobody_is_pinned_or_blocked_by_jobs_that_nobody_serves(jobs, worker, two):
    a, b = two
    flood(jobs, a, 50, "video_fast")
    flood(jobs, a, 50, "sketch")
    fleet = FleetOfFour(worker, WAN, "sketch")
    fleet.starts(WORKERS)
    flood(jobs, b, 1, WAN)
    assert fleet.starts_until(b) <= WORKERS
    flood(jobs, b, 1)
    assert fleet.starts_until(b) <= WORKERS


def test_who_cancels_and_sends_again_is_charged_all_the_same(jobs, worker, two):
    a, b = two
    flood(jobs, a, 30)
    took = Counter()
    mine = jobs.add(user_id=b)
    for _ in range(20):
        job = worker.take()
        took[job.user_id] += 1
        if job.id == mine:
            jobs.run("select consumer.cancel_job(%s)", mine)
            jobs.run("select consumer.retry_job(%s)", mine)
            jobs.run("select consumer.cancel_job(%s)", mine)
            mine = jobs.add(user_id=b)
    assert took[b] <= 11


def test_who_deletes_what_was_served_is_charged_all_the_same(jobs, worker, two):
    a, b = two
    flood(jobs, a, 30)
    took = Counter()
    mine = jobs.add(user_id=b)
    for _ in range(20):
        job = worker.take()
        took[job.user_id] += 1
        if job.id == mine:
            jobs.run("delete from public.jobs where id = %s", mine)
            mine = jobs.add(user_id=b)
    assert took[b] <= 11
