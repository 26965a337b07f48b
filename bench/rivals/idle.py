"""What workers cost that have nothing to do."""

import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

from rivals.contestants import Contestant
from rivals.database import Hall
from rivals.machine import used

SETTLE_SECONDS = 10.0
STATEMENT = (b"LOG:  statement: ", b"LOG:  execute ")


def table(hall: Hall, contestants: list[Contestant], seconds: float) -> list[dict[str, Any]]:
    """All at the same time, each in a database of its own; statements are counted in the server's log."""
    log = hall.server.directory / "log"
    with ExitStack() as stack:
        databases = {c.name: stack.enter_context(hall.copy(c.peer, 0)) for c in contestants}
        for database in databases.values():
            hall.administer(f"alter database {database} set log_statement = 'all'")
        workers = {c.name: stack.enter_context(hall.worker(c, databases[c.name])) for c in contestants}
        for worker in workers.values():
            worker.ready()
        time.sleep(SETTLE_SECONDS)
        written = log.stat().st_size
        before = {name: used(worker.process.pid) for name, worker in workers.items()}
        time.sleep(seconds)
        after = {name: used(worker.process.pid) for name, worker in workers.items()}
        with log.open("rb") as lines:
            lines.seek(written)
            counts = Counter(
                line.split(b" ", 1)[0].decode() for line in lines if any(mark in line for mark in STATEMENT)
            )
        return [
            {
                "contestant": name,
                "statements/s": round(counts[databases[name]] / seconds, 2),
                "worker CPU s per 60 s": round((after[name] - before[name]) / seconds * 60, 2),
                "worker CPU %": round((after[name] - before[name]) / seconds * 100, 2),
            }
            for name in databases
        ]
