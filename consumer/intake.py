"""Where the next job comes from: a claim, after a hint or a sweep, or a wait for one of them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from consumer import events
from consumer.database import AWAY
from consumer.job import Job
from consumer.lease import Lease, Leases
from consumer.queue import Queue
from consumer.turns import Turns

NEXT_LOOK = 0.1
"""Seconds after which a worker that went idle looks once more, and again whenever it has been idle for as long again.

A transaction that asked who is idle just before this worker said so notifies nobody, however late it commits. Its job
waits here for no longer than the transaction went on after it had asked, and these seconds. That is a look after 0.1,
0.3, 0.7, 1.5, ... seconds, about seven until the first sweep, which then sets the pace."""


class Intake:
    """Claims jobs of the job types whose turn it is, one at a time.

    `pace()` tells how many seconds lie between two sweeps. `found_by` counts the jobs by what led to them: `line` (they
    stood there when this worker was free), `notify`, `sweep`, `reconnect` (of the listener).
    While `held_back()`, nothing is claimed; a hint tells when that is over.
    `gone_idle(seconds)` is asked whenever there is nothing to do, and may decide to leave; it returns how long to wait
    at most.
    """

    def __init__(
        self,
        queue: Queue,
        leases: Leases,
        turns: Turns,
        pace: Callable[[], float],
        gone_idle: Callable[[float], float],
        held_back: Callable[[], bool] = lambda: False,
    ) -> None:
        self.queue = queue
        self.leases = leases
        self.turns = turns
        self.pace = pace
        self.gone_idle = gone_idle
        self.held_back = held_back
        self._wake = asyncio.Event()
        self._closed = False
        self.found_by: Counter[str] = Counter()
        self._hinted_by: str | None = None
        self._sweep_at = 0.0

    def hint(self, source: str) -> None:
        """There may be a job, or a new time at which one is due; `source` told."""
        self._hinted_by = source
        self._wake.set()

    def close(self) -> None:
        """Claim nothing more."""
        self._closed = True
        self._wake.set()

    async def next_jobs(self, free: Callable[[], Awaitable[None]], limit: int = 1) -> list[Lease]:
        """The next job, waited for, with those that stand in line behind it up to `limit`; none once closed. `free`
        returns when this worker could begin it: until then one that stands in line is taken, but none is waited for,
        for an idle worker would begin it sooner."""
        idle_since, looks, source = time.monotonic(), 0, "line"
        while not self._closed:
            self._wake.clear()
            if self.held_back():
                await self._wake.wait()
                continue
            try:
                if jobs := await self._look(limit):
                    self.leases.idle = False
                    self.found_by[source] += len(jobs)
                    return [self.leases.add(job) for job in jobs]
                looks += 1
                if looks == 1:
                    await free()
                    await self._go_idle()
                    idle_since = time.monotonic()
                    continue
                idle = time.monotonic() - idle_since
                wait = min(NEXT_LOOK + idle, max(0.0, self._sweep_at - time.monotonic()))
            except AWAY as error:
                events.emit("database.away", error=events.describe(error))
                looks, wait = 0, random.uniform(0.5, 2.0)  # noqa: S311 jitter is no secret
            wait = min(wait, self.gone_idle(time.monotonic() - idle_since))
            if not self._closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                source = self._hinted_by or ("sweep" if time.monotonic() >= self._sweep_at else "line")
        return []

    async def _go_idle(self) -> None:
        # First say so, then look again: whoever asks from now on will notify us. A heartbeat that finds our row gone
        # must say so, too.
        self.leases.idle = True
        await self.queue.mark_idle()

    async def _look(self, limit: int) -> list[Job]:
        """Claim jobs; sweep when it is time to, or when there was a hint that led to nothing."""
        if time.monotonic() >= self._sweep_at:
            await self._sweep()
        jobs = await self._claim(limit)
        if not jobs and self._hinted_by:
            self._hinted_by = None
            if await self._sweep():
                jobs = await self._claim(limit)
        return jobs

    async def _claim(self, limit: int) -> list[Job]:
        for job_types in () if self._closed else self.turns.order():
            if jobs := await self.queue.claim_jobs(job_types, limit):
                for job in jobs:
                    self.turns.took(job.job_type)
                return jobs
        return []

    async def _sweep(self) -> int:
        """Put due jobs in line, and know when to look again; returns how many were due."""
        promoted, next_due = await self.queue.promote_due()
        wait = self.pace() * random.uniform(0.9, 1.1)  # noqa: S311 jitter is no secret
        if next_due is not None:
            wait = min(wait, max(next_due, 0.01))
        # Where some were due there may be more: one sweep takes no more than so many.
        self._sweep_at = time.monotonic() + (0 if promoted else wait)
        return promoted
