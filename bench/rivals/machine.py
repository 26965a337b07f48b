"""Who used the CPU: the worker, the server, this program, and everybody else on the machine."""

import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

NOISY = 0.25
"""Cores used by others above which a run counts as noisy."""


def used(pid: int, *, children: bool = False) -> float:
    """Seconds of CPU of a process; with those of its ended children where asked. 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if children else 13])) / TICKS


def server_used(postmaster: int) -> float:
    """Seconds of CPU of a Postgres, with sessions that have ended."""
    try:
        pids = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    except OSError:
        pids = []
    return used(postmaster, children=True) + sum(used(int(pid)) for pid in pids)


def all_used() -> float:
    """Seconds of CPU that this machine was not idle."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


class Meter:
    """Measures from when it is made until `stop`."""

    def __init__(self, worker: int, postmaster: int) -> None:
        self._pids = worker, postmaster
        self._before = self._now()
        self.worker = self.server = self.foreign = 0.0

    def stop(self) -> "Meter":
        """Fill in `worker` and `server` (seconds of CPU) and `foreign` (cores of others, on average)."""
        wall, everything, self.worker, self.server, own = (
            now - before for now, before in zip(self._now(), self._before, strict=True)
        )
        self.foreign = (everything - self.worker - self.server - own) / wall
        return self

    @property
    def noisy(self) -> bool:
        """Whether others had so much of the machine that the run says little."""
        return self.foreign > NOISY

    def _now(self) -> tuple[float, ...]:
        worker, postmaster = self._pids
        return time.monotonic(), all_used(), used(worker), server_used(postmaster), time.process_time()
