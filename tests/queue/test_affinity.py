"""Four workers, each with room for one model, over one database's lines: time is the test's own."""

import heapq
from dataclasses import dataclass
from random import Random

from consumer.turns import Turns
from jobs import Hands, Jobs
from postgres import Database

BOUND = 30.0
LOAD = 5.0
LONGEST = 1.5
LINES = ("sdxl_image_fast", "sdxl_image_high")

FLOOD = """
insert into public.jobs (user_id, job_type, metadata)
select u.id, (%s::text[])[1 + (hashtext((100 * u.place + n)::text) & 1)], '{}'
from unnest(%s::uuid[]) with ordinality as u (id, place) cross join generate_series(1, 8) as n
"""


@dataclass
class Fleet:
    """What the workers did. `longest_first`: for how long a job stood first in line at most."""

    loads: int
    longest_first: float


def serve(hands: Hands, jobs: Jobs, seconds: float) -> Fleet:
    """Let four workers, each of which prefers its model for so many seconds, take all jobs that are in line."""
    rows = jobs.run("select id from public.jobs where status = 'queued' order by queue_at, created_at")
    line, random, now = [row["id"] for row in rows], Random(5), 0.0
    fleet, first_since = Fleet(0, 0.0), 0.0
    there: list[set[str]] = [set() for _ in range(4)]
    turns = [Turns(LINES, lambda mine=mine: mine, seconds, lambda: now) for mine in there]
    free = [(0.0, number) for number in range(4)]
    while line:
        now, number = heapq.heappop(free)
        job = next(job for types in turns[number].order() if (job := hands.claim(*types)))
        turns[number].took(job.job_type)
        if job.id == line[0]:
            fleet.longest_first, first_since = max(fleet.longest_first, now - first_since), now
        line.remove(job.id)
        moved = job.job_type not in there[number]
        fleet.loads += moved
        there[number].clear()
        there[number].add(job.job_type)
        heapq.heappush(free, (now + moved * LOAD + random.uniform(0.5, LONGEST), number))
    return fleet


def test_a_fleet_loads_a_fifth_as_often_and_the_first_in_line_waits_no_longer_than_the_bound(
    worker: Hands, jobs: Jobs, db: Database
) -> None:
    users = [db.user() for _ in range(20)]
    jobs.run(FLOOD, list(LINES), users)
    fair = serve(worker, jobs, 0)
    jobs.run(FLOOD, list(LINES), users)
    preferring = serve(worker, jobs, BOUND)
    assert 0 < 5 * preferring.loads <= fair.loads
    assert preferring.longest_first <= BOUND + LONGEST
