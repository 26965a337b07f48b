"""Who is served in the first round: `python bench/fair.py [users] [each] [flood]`.

Two users send a flood, then all the others some jobs each, through the triggers, a thousand per statement. Four workers
claim one by one until every user's first job was claimed: at best that is one claim per user. The defaults are 10,000
users of 100 jobs and floods of 10,000, which takes some ten minutes.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg

import stage
from consumer.database import Database
from consumer.queue import Queue

WORKERS = 4
AT_ONCE = 1_000

INSERT = (
    "insert into public.jobs (user_id, job_type, original_prompt) select u, 'noop', 'x' from unnest(%s::uuid[]) as u"
)
USERS = "insert into auth.users (id) select gen_random_uuid() from generate_series(1, %s) returning id"


def senders(users: list[UUID], each: int, flood: int) -> Iterator[UUID]:
    """Who sends the next job: the two floods, and then user by user."""
    for user in users[:2]:
        yield from [user] * flood
    for user in users[2:]:
        yield from [user] * each


def send(dsn: str, users: list[UUID], each: int, flood: int) -> int:
    """Insert the jobs; returns how many."""
    everything = list(senders(users, each, flood))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        for first in range(0, len(everything), AT_ONCE):
            connection.execute(INSERT.encode(), (everything[first : first + AT_ONCE],))
        connection.execute("vacuum (analyze) public.jobs, public.images")
    return len(everything)


async def serve(dsn: str, users: int) -> list[UUID]:
    """Claim until every user was served; returns whose job each claim was, in order."""
    database = Database(dsn, WORKERS)
    await database.open()
    claims: dict[int, UUID] = {}
    served: set[UUID] = set()

    async def work() -> None:
        queue = Queue(database, uuid4(), served=("noop",))
        while len(served) < users:
            [job] = await queue.claim_jobs(["noop"])
            claims[job.claim_id] = job.user_id
            served.add(job.user_id)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    await database.close()
    return [claims[claim] for claim in sorted(claims)]


def main() -> None:
    """Send, serve, and count."""
    users, each, flood = [int(word) for word in sys.argv[1:]] or [10_000, 100, 10_000]
    with stage.server() as running:
        dsn = stage.database(running, "fair")
        with psycopg.connect(dsn, autocommit=True) as connection:
            everybody = [row[0] for row in connection.execute(USERS, (users + 2,)).fetchall()]
        jobs = send(dsn, everybody, each, flood)
        started = time.monotonic()
        order = asyncio.run(serve(dsn, len(everybody)))
        seconds = time.monotonic() - started
    firsts = {user: place for place, user in reversed(list(enumerate(order, 1)))}
    stage.table([
        {
            "users": len(everybody),
            "jobs": f"{jobs:,}",
            "claims until all were served": f"{len(order):,}",
            "of the two floods": sum(user in everybody[:2] for user in order),
            "last first job at claim": f"{max(firsts.values()):,}",
            "claims/s": f"{len(order) / seconds:,.0f}",
        }
    ])  # fmt: skip


if __name__ == "__main__":
    main()
