"""Read by Python at the start of a worker process whose PYTHONPATH names this folder: what happens to it, and when.

CHAOS_CLOCK is by how many seconds the wall clock is wrong, for all Python code in the process. CHAOS_BLOWS is a JSON
list of {point, nth, do, seconds}: when jobs come to this failpoint for the nth time, the process is killed, or stands
still until its parent wakes it. Each is told on stderr before it happens.
"""

import datetime
import json
import os
import signal
import time
from collections import Counter

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def shift_clock(seconds: float) -> None:
    """Let the wall clock of this process be wrong; what measures durations stays right."""
    true = time.time

    class Wrong(datetime.datetime):
        # As large as the one that compiled modules know.
        __slots__ = ()

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Wrong":
            return super().now(tz) + datetime.timedelta(seconds=seconds)

    time.time = lambda: true() + seconds
    datetime.datetime = Wrong  # type: ignore[misc]


def await_blows(blows: list[dict[str, object]]) -> None:
    """Let each blow fall at its point."""
    from consumer import failpoints

    reached: Counter[str] = Counter()

    def fall(point: failpoints.Point) -> None:
        reached[point] += 1
        for blow in blows:
            if (blow["point"], blow["nth"]) == (point, reached[point]):
                os.write(2, f"{json.dumps({'event': 'chaos.blow', **blow})}\n".encode())
                os.kill(os.getpid(), SIGNALS[str(blow["do"])])

    failpoints.hook = fall


if seconds := float(os.environ.get("CHAOS_CLOCK", "0")):
    shift_clock(seconds)
if blows := json.loads(os.environ.get("CHAOS_BLOWS", "[]")):
    await_blows(blows)
