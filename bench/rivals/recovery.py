"""When a job runs again whose worker was killed with SIGKILL, while a second worker is idle beside it."""

import json
import time
from contextlib import ExitStack
from typing import Any

import psycopg

from rivals.contestants import Contestant
from rivals.database import Hall
from rivals.worker import Worker

SETTLE_SECONDS = 5.0


def begin(hall: Hall, contestant: Contestant, stack: ExitStack, **payload: Any) -> tuple[Worker, Worker]:
    """A worker with one job in hand, which does as the payload says, and a second worker beside it."""
    database = stack.enter_context(hall.copy(contestant.peer, 0))
    first = stack.enter_context(hall.worker(contestant, database)).ready()
    with psycopg.connect(hall.server.dsn(database), autocommit=True) as connection:
        connection.execute(contestant.peer.insert.encode(), (json.dumps({"n": 1, **payload}),))
    if first.until("start", 1, 30) is None:
        raise RuntimeError(f"{contestant.name} did not start a job within 30 seconds.")
    return first, stack.enter_context(hall.worker(contestant, database)).ready()


def table(hall: Hall, contestants: list[Contestant], cap: float) -> list[dict[str, Any]]:
    """All at the same time, each in a database of its own."""
    with ExitStack() as stack:
        pairs = {c.name: begin(hall, c, stack, seconds=cap + 600, how="wait") for c in contestants}
        time.sleep(SETTLE_SECONDS)
        killed_at = {}
        for name, (first, _) in pairs.items():
            killed_at[name] = time.monotonic_ns()
            first.kill()
        deadline = time.monotonic() + cap
        rows = []
        for name, (_, second) in pairs.items():
            again = second.until("start", 1, deadline - time.monotonic())
            after = f"{(again - killed_at[name]) / 1e9:.1f}" if again else f"not within {cap:.0f} s"
            rows.append({"contestant": name, "runs again after s": after})
        return rows
