"""A worker that goes idle while jobs are being inserted sleeps past none of them."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from psycopg import Connection

from user_jobs import UserJobs
from workers import Site, eventually

CLIENTS = 8
ROUNDS = 38
BOUND = 3.0
"""Seconds in which a job must be started. A transaction here lasts 0.3 seconds at most after it has asked who is idle,
and the worker promises to be no more than as long again behind it; the rest is for a slow machine."""

INSERT = (
    "insert into public.jobs (user_id, job_type, original_prompt, metadata)"
    " values (%s, 'puppet', 'race', '{\"num_images\": 1, \"seed\": 1}')"
)

STARTED = "select bool_and(started_at is not null) from public.jobs"


def insert(connection: Connection, user: object, start: Barrier, after: float, open_for: float | None) -> None:
    """Insert one job `after` so many seconds; its transaction asks who is idle, and stays open for so many more."""
    start.wait()
    time.sleep(after)
    with connection.transaction():
        if open_for is not None:
            connection.execute("set constraints all immediate")
        connection.execute(INSERT, (user,))
        time.sleep(open_for or 0)


def test_no_job_waits_for_the_sweep_however_late_its_transaction_commits(site: Site, jobs: UserJobs) -> None:
    # A round ends when all of its jobs have started: else those of the next one would wake the worker for them.
    chance, start = random.Random(5), Barrier(CLIENTS)
    worker = site.start_idle(lease_seconds="20")
    clients = [(jobs.db.connect(), jobs.db.user()) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(ROUNDS):
            jobs.wait_for_idle()
            late = chance.randrange(CLIENTS) if number % 2 else None
            done = [
                pool.submit(
                    insert, *client, start, chance.uniform(0, 0.05), chance.uniform(0, 0.3) if place == late else None
                )
                for place, client in enumerate(clients)
            ]
            for each in done:
                each.result()
            eventually(lambda: jobs.value(STARTED), "all jobs of the round are started", BOUND)
    # One that was only claimed would be released by a worker that leaves.
    completed = "select count(*) from public.jobs where status = 'completed'"
    eventually(lambda: jobs.value(completed) == CLIENTS * ROUNDS, "all jobs are completed")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    stopped = worker.wait_for("worker.stopped")
    assert stopped["found_by_notify"], "it went idle, and was woken"
    assert "found_by_sweep" not in stopped
