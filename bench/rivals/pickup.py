"""How soon an idle worker starts on a job."""

import json
import time
from typing import Any

import psycopg

import stage
from rivals.contestants import Contestant
from rivals.database import Hall
from rivals.machine import Meter
from rivals.worker import Worker

WARM_UP = 20
PAUSE_SECONDS = 0.05


def samples(hall: Hall, contestant: Contestant, jobs: int) -> tuple[list[float], bool]:
    """Seconds from just before the COMMIT of an INSERT to the start of its handler; and whether the run was noisy."""
    with (
        hall.copy(contestant.peer, 0) as database,
        psycopg.connect(hall.server.dsn(database)) as connection,
        hall.worker(contestant, database) as worker,
    ):
        worker.ready()
        time.sleep(2)
        meter = Meter(worker.process.pid, hall.server.pid)
        sent = [send(connection, contestant, number) for number in range(WARM_UP + jobs)]
        worker.until("end", WARM_UP + jobs - 1, 10)
        worker.drain_lines(1)
        meter.stop()
        started = starts(worker)
        return [(started[n] - sent[n]) / 1e9 for n in range(WARM_UP, WARM_UP + jobs) if n in started], meter.noisy


def send(connection: psycopg.Connection, contestant: Contestant, number: int) -> int:
    """Enqueue one job, and give it a moment; when its COMMIT was sent (monotonic nanoseconds)."""
    connection.execute(contestant.peer.insert.encode(), (json.dumps({"n": number}),))
    committing = time.monotonic_ns()
    connection.commit()
    time.sleep(PAUSE_SECONDS)
    return committing


def starts(worker: Worker) -> dict[int, int]:
    """{the job's number: its first start}."""
    found: dict[int, int] = {}
    for kind, number, at in worker.told:
        if kind == "start":
            found.setdefault(number, at)
    return found


def table(hall: Hall, contestants: list[Contestant], jobs: int, rounds: int) -> list[dict[str, Any]]:
    """All contestants in turn."""
    found: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    noisy: dict[str, int] = dict.fromkeys(found, 0)
    for _ in range(rounds):
        for contestant in contestants:
            taken, loud = samples(hall, contestant, jobs)
            found[contestant.name] += taken
            noisy[contestant.name] += loud
    return [
        {
            "contestant": name,
            "samples": len(taken),
            **(stage.milliseconds(taken) if taken else dict.fromkeys(("p50 ms", "p95 ms", "p99 ms", "max ms"), "")),
            "not picked": jobs * rounds - len(taken),
            "noisy runs": f"{noisy[name]}/{rounds}",
        }
        for name, taken in found.items()
    ]
