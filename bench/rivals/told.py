"""What a Python worker tells on its standard output, and the handler that all of them have in common.

`ready`; then either `mark COUNT NS` at the first handler start and at every so many, or, for each job that has a
number, `start N NS` and `end N NS`. NS is time.monotonic_ns(), which other processes of this machine share.
"""

import asyncio
import json
import sys
import time
from typing import Any


def say(*words: object) -> None:
    """One line."""
    print(*words, flush=True)


class Handler:
    """Counts where `every` is set (the job does nothing), and does as the payload says where it is not."""

    def __init__(self, every: int | None) -> None:
        self.every = every
        self.count = 0

    def counted(self) -> bool:
        """Whether this job was only to be counted."""
        if self.every is None:
            return False
        self.count += 1
        if self.count == 1 or self.count % self.every == 0:
            say("mark", self.count, time.monotonic_ns())
        return True

    async def handle(self, payload: bytes | str) -> None:
        """One job, in the event loop."""
        if not self.counted():
            job = json.loads(payload)
            say("start", job["n"], time.monotonic_ns())
            if job.get("how") == "wait":
                await asyncio.sleep(job["seconds"])
            else:
                block(job)
            say("end", job["n"], time.monotonic_ns())

    def handle_in_thread(self, payload: bytes | str) -> None:
        """One job, in a thread."""
        job = json.loads(payload)
        say("start", job["n"], time.monotonic_ns())
        block(job)
        say("end", job["n"], time.monotonic_ns())


def block(job: dict[str, Any]) -> None:
    """Give nothing else in this thread a turn for `seconds`: asleep, or busy."""
    seconds = job.get("seconds", 0)
    if job.get("how") == "busy":
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
    else:
        time.sleep(seconds)


def settings() -> tuple[str, str, dict[str, Any]]:
    """The command line: `setup` or `work`, the DSN, and the settings ({"jobs": N} for setup)."""
    verb, dsn, rest = sys.argv[1:]
    return verb, dsn, {"jobs": int(rest)} if verb == "setup" else json.loads(rest)
