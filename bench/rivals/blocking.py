"""Whether a job runs twice whose handler blocks for longer than its worker's heartbeat or lease, while a second worker
is idle beside it. Nobody dies here: the first run ends well."""

import time
from contextlib import ExitStack
from typing import Any

from rivals.contestants import Contestant
from rivals.database import Hall
from rivals.recovery import begin


def table(hall: Hall, contestants: list[Contestant], seconds: float, how: str) -> list[dict[str, Any]]:
    """All at the same time, each in a database of its own; `how` is sleep (in a blocking call) or busy."""
    with ExitStack() as stack:
        pairs = {c.name: begin(hall, c, stack, seconds=seconds, how=how) for c in contestants}
        deadline = time.monotonic() + seconds + min(20.0, seconds)
        for first, second in pairs.values():
            first.drain_lines(deadline - time.monotonic())
            second.drain_lines(0)
        rows = []
        for name, (first, second) in pairs.items():
            told = sorted(first.told + second.told, key=lambda line: line[2])
            starts = [at for kind, _, at in told if kind == "start"]
            ends = [at for kind, _, at in told if kind == "end"]
            rows.append(
                {
                    "contestant": name,
                    "handler": f"{how}s {seconds:.0f} s" if how == "sleep" else f"is busy for {seconds:.0f} s",
                    "starts": len(starts),
                    "run twice": "YES" if len(starts) > 1 else "no",
                    "second start after s": f"{(starts[1] - starts[0]) / 1e9:.1f}" if len(starts) > 1 else "",
                    "at the same time": "YES" if len(starts) > 1 and (not ends or starts[1] < ends[0]) else "no",
                }
            )
        return rows
