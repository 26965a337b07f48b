"""The jobs of many users, and four workers that take them in turn: time is the test's own."""

import heapq
from collections.abc import Callable
from random import Random
from uuid import UUID

from psycopg.types.json import Jsonb

from consumer.job import Job
from jobs import Hands, Jobs, Row

WORKERS = 4

FLOOD = """
insert into public.jobs (user_id, job_type, priority, metadata)
select %s, %s, %s, %s from generate_series(1, %s)
"""


def users(jobs: Jobs, amount: int) -> list[UUID]:
    """Sign up so many new users."""
    rows = jobs.run(
        "insert into auth.users (id, email, created_at)"
        " select id, id || '@example.com', now() from (select gen_random_uuid() as id from generate_series(1, %s)) as u"
        " returning id",
        amount,
    )
    return [row["id"] for row in rows]


def flood(
    jobs: Jobs, user: UUID, amount: int, job_type: str = "sketch", priority: int = 0, metadata: Row | None = None
) -> None:
    """Insert so many jobs of one user, in one statement."""
    jobs.run(FLOOD, user, job_type, priority, Jsonb(metadata or {}), amount)


class FleetOfFour:
    """Workers that begin a job as soon as they have ended the last one, of these job types.

    How long a job takes is random, and the same in each run. `ended(job)` is called when a worker has ended one.
    """

    def __init__(self, hands: Hands, *job_types: str, workers: int = WORKERS) -> None:
        self.hands = [Hands(hands.runner, hands.database) for _ in range(workers)]
        self.job_types = job_types or ("sketch",)
        self.ended: Callable[[Job], None] = lambda job: None
        self._in_hand: dict[int, Job] = {}
        self._free = [(0.0, number) for number in range(workers)]
        self._random = Random(7)

    def start(self) -> Job | None:
        """What the worker that is free next begins; None when there was nothing for it."""
        now, number = heapq.heappop(self._free)
        hands = self.hands[number]
        if job := self._in_hand.pop(number, None):
            hands.fail(job)
            self.ended(job)
        job = hands.claim(*self.job_types)
        if job:
            self._in_hand[number] = job
        heapq.heappush(self._free, (now + self._random.uniform(0.5, 1.5), number))
        return job

    def starts(self, amount: int) -> list[UUID]:
        """The users of the next so many jobs that begin."""
        begun = (self.start() for _ in range(amount))
        return [job.user_id for job in begun if job]

    def starts_until(self, user: UUID) -> int:
        """How many jobs begin before one of this user does; at most a hundred."""
        for others in range(100):
            job = self.start()
            assert job is not None, "nothing was left, and nothing of the user has begun"
            if job.user_id == user:
                return others
        return 100
