"""How fast a queue of no-op jobs is worked off."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg

from rivals.contestants import Contestant
from rivals.database import Hall
from rivals.machine import Meter

CAP_SECONDS = 60.0
"""After so long a run ends, and counts with what it has done; marked with a double dagger."""


@dataclass(frozen=True)
class Run:
    """One worker's run: jobs per second, and what one job cost (ms of CPU, bytes of WAL)."""

    rate: float
    worker_ms: float
    server_ms: float
    wal: float
    capped: bool
    noisy: bool


def run(hall: Hall, contestant: Contestant, backlog: int, jobs: int) -> Run:
    """From the first handler start until the database shows all jobs finished; where the backlog is larger than
    `jobs`, until the handler of the last of these starts."""
    with (
        hall.copy(contestant.peer, backlog) as database,
        psycopg.connect(hall.server.dsn(database), autocommit=True) as reader,
        hall.worker(contestant, database, every=max(1, jobs // 20)) as worker,
    ):
        wal = lsn(reader)
        worker.ready()
        started = worker.until("mark", 1, 60)
        if started is None:
            raise RuntimeError(f"{contestant.name} started nothing within a minute:\n{worker.tail()}")
        meter = Meter(worker.process.pid, hall.server.pid)
        ended = worker.until("mark", jobs, CAP_SECONDS)
        capped = ended is None
        if capped:
            _, done, ended = worker.told[-1]
            done -= 1
        elif backlog > jobs:
            done = jobs - 1
        else:
            ended, done = finished(reader, contestant), jobs
        assert ended is not None
        meter.stop()
        return Run(
            rate=done / ((ended - started) / 1e9) if ended > started else 0.0,
            worker_ms=meter.worker / max(done, 1) * 1000,
            server_ms=meter.server / max(done, 1) * 1000,
            wal=(lsn(reader) - wal) / max(done, 1),
            capped=capped,
            noisy=meter.noisy,
        )


def finished(reader: psycopg.Connection, contestant: Contestant) -> int:
    """When the database shows no job that is not finished (monotonic nanoseconds)."""
    while reader.execute(contestant.peer.unfinished.encode()).fetchone() != (False,):
        time.sleep(0.003)
    return time.monotonic_ns()


def lsn(reader: psycopg.Connection) -> float:
    """Bytes of WAL that the server has written since its beginning."""
    row = reader.execute("select pg_current_wal_lsn() - '0/0'").fetchone()
    assert row
    return float(row[0])


def summary(name: str, runs: list[Run]) -> dict[str, Any]:
    """One row: medians over the quiet runs, or over all where none was quiet."""
    quiet = [run for run in runs if not run.noisy]
    told = quiet or runs
    rates = [run.rate for run in told]
    mark = ("‡" if any(run.capped for run in told) else "") + ("" if quiet else " noisy")
    return {
        "contestant": name,
        "jobs/s": f"{median(rates):,.0f}{mark}",
        "range": f"{min(rates):,.0f}-{max(rates):,.0f}",
        "quiet runs": f"{len(quiet)}/{len(runs)}",
        "worker CPU ms/job": f"{median(run.worker_ms for run in told):.3f}",
        "server CPU ms/job": f"{median(run.server_ms for run in told):.3f}",
        "WAL B/job": f"{median(run.wal for run in told):,.0f}",
    }


def table(hall: Hall, contestants: list[Contestant], backlog: int, jobs: int, rounds: int) -> list[dict[str, Any]]:
    """All contestants in turn, `rounds` times, each round beginning with another one."""
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for turn in range(rounds):
        first = turn % max(1, len(contestants))
        for contestant in contestants[first:] + contestants[:first]:
            runs[contestant.name].append(run(hall, contestant, backlog, jobs))
    return [summary(name, done) for name, done in runs.items()]
