"""How the database and the queue are now: what is in the way of vacuum, and what waits or is stuck."""

import time
from datetime import timedelta

from consumer.doctor.finding import Findings, note, ok, wrong
from consumer.doctor.subject import TABLES, Subject

CLOCK_SECONDS = 30.0
OPEN_SECONDS = 600.0
DEAD_ROWS = 10_000
QUEUE_USAGE = 0.1
WAITING_SECONDS = 600.0
LOST = (
    "update public.jobs set worker_id = gen_random_uuid() where status = 'processing' and engine is not null "
    "and worker_id is null; then a live worker takes them over after one lease"
)
"""As if a worker held them that is gone: then the rescue finds them, and each gets another attempt or fails."""


def clock(subject: Subject, here: float = 0.0) -> Findings:
    """This machine's clock, with `here` seconds added, and the database's agree: TLS and signed URLs need it."""
    before = time.time()
    there = subject.read_one("clock")["seconds"]
    after = time.time()
    # The answer was given somewhere in between.
    apart = max(0.0, before + here - there, there - after - here)
    if apart > CLOCK_SECONDS:
        yield wrong(
            f"The clocks of this machine and the database are {apart:.0f} seconds apart.",
            "Set the clock by the network on the one that is wrong: timedatectl set-ntp true",
        )
    else:
        yield ok(f"The clocks agree, to {max(apart, after - before):.1f} seconds.")


def transactions(subject: Subject, seconds: float = OPEN_SECONDS) -> Findings:
    """A transaction that stays open keeps vacuum from every table of the database."""
    found = subject.read("transactions", {"seconds": seconds})
    for row in found:
        yield wrong(
            f"A transaction of {row['name']} has been open for {ago(row['age'])} ({row['state']}).",
            f"select pg_terminate_backend({row['pid']});",
        )
    others = subject.read_one("hidden_sessions")
    if others["hidden"]:
        yield note(
            f"This role may not see the transactions of {others['hidden']} other sessions.",
            f"grant pg_read_all_stats to {others['role']};",
        )
    if not found:
        yield ok(f"No transaction has been open for more than {ago(timedelta(seconds=seconds))}.")


def prepared(subject: Subject, seconds: float = OPEN_SECONDS) -> Findings:
    """A prepared transaction that was forgotten is open for ever, through restarts too."""
    found = subject.read("prepared", {"seconds": seconds})
    for row in found:
        yield wrong(
            f"A prepared transaction has been left for {ago(row['age'])}.", f"rollback prepared {row['quoted']};"
        )
    if not found:
        yield ok("No prepared transaction was left behind.")


def horizon(subject: Subject) -> Findings:
    """Standbys and slots can hold vacuum back as an open transaction does."""
    found = subject.read("horizon")
    for row in found:
        yield note(
            f"The {row['kind']} {row['name']} keeps rows that died {row['age']} transactions ago from being vacuumed.",
            "Restart its reader or drop it; for a standby, set hot_standby_feedback = off there.",
        )
    if not found:
        yield ok("No standby and no replication slot holds vacuum back.")


def dead_rows(subject: Subject, least: int = DEAD_ROWS) -> Findings:
    """Dead rows lie in the way of every claim until they are vacuumed."""
    found = subject.read("dead_rows", {"tables": [*TABLES], "least": least})
    for row in found:
        yield note(
            f"{row['relation']} has {row['dead']} dead rows beside {row['live']} live ones.",
            f"vacuum {row['relation']};",
        )
    if not found:
        yield ok("jobs, images and videos are vacuumed.")


def notifications(subject: Subject, most: float = QUEUE_USAGE) -> Findings:
    """When the queue of notifications is full, every INSERT of a job fails."""
    usage = subject.read_one("notifications")["usage"]
    if usage > most:
        yield wrong(
            f"The queue of notifications is {usage:.0%} full: some session listens inside of a transaction.",
            "select pid, application_name from pg_stat_activity order by xact_start limit 5; and end that session",
        )
    else:
        yield ok("The queue of notifications is empty, or nearly.")


def unserved(subject: Subject) -> Findings:
    """Each queued job has a live worker that serves its type."""
    subject.schema.get()
    found = subject.read("unserved")
    for row in found:
        jobs = f"{row['jobs']} queued {row['job_type']}"
        if row["engine"] is None:
            yield note(f"{jobs}: the queue does not know this job type and leaves it alone.", "consumer job-types push")
        else:
            yield wrong(
                f"{jobs}: no live worker serves them.",
                f"consumer run, with CONSUMER_ENGINES empty or naming {row['engine']}",
            )
    if not found:
        yield ok("Every queued job has a live worker that serves it.")


def waiting(subject: Subject, seconds: float = WAITING_SECONDS) -> Findings:
    """How long the oldest job in line has been waiting."""
    subject.schema.get()
    found = subject.read("waiting", {"seconds": seconds})
    for row in found:
        yield note(
            f"{row['jobs']} jobs wait for the engine {row['engine']}, the oldest for {ago(row['age'])}.",
            "Start more workers, if this is too long.",
        )
    if not found:
        yield ok(f"No job in line has been waiting for more than {ago(timedelta(seconds=seconds))}.")


def workers(subject: Subject) -> Findings:
    """Those that live, those that died without a word, and the jobs that they held."""
    subject.schema.get()
    found = subject.read_one("workers")
    if found["stuck"]:
        yield wrong(
            f"{found['stuck']} jobs are held by workers that are gone.",
            "consumer run: a live worker takes them over after one lease",
        )
    if found["lost"]:
        yield wrong(f"{found['lost']} jobs are processing, and no worker is named that holds them.", LOST)
    if found["dead"]:
        yield note(f"{found['dead']} workers went silent; the next live worker clears them away.", "consumer run")
    if not found["stuck"] and not found["lost"] and not found["dead"]:
        yield ok(f"{found['live']} workers live, and no job is held by a dead one.")


def ago(span: timedelta) -> str:
    """A length of time, in the largest unit that it fills."""
    seconds = int(span.total_seconds())
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


CHECKS = (
    clock, transactions, prepared, horizon, dead_rows, notifications, unserved, waiting, workers,
)  # fmt: skip
