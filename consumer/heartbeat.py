"""The heartbeat: this worker's jobs are kept, and those of dead workers are rescued."""

import asyncio
import math
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from consumer import events
from consumer.database import AWAY
from consumer.lease import DEAD_SECONDS, Leases, pace
from consumer.rescue import Rescuer
from consumer.tasks import end

T = TypeVar("T")


class Heartbeat:
    """Beats every few seconds, as long as `keep` runs; `database` says in one word how the last one went."""

    def __init__(self, leases: Leases, rescuer: Rescuer) -> None:
        self.leases = leases
        self.rescuer = rescuer
        self.database = "connected"
        self._pace = pace(leases.lease_seconds)
        self._thorough_at = -math.inf
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """The next heartbeat has something to say, and goes at once."""
        self._hurry.set()

    async def keep(self) -> None:
        """Beat for ever, after a first time."""
        lease, wait = self.leases.lease_seconds, self._pace
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._hurry.wait()
            self._hurry.clear()
            try:
                # A dead connection is given up in time for another beat, before our lease runs out.
                wait = await within(min(DEAD_SECONDS, lease / 3) if self.leases.prompt else lease / 3, self.beat())
                self.database = "connected"
            except (*AWAY, TimeoutError) as error:
                self.rescuer.forget()
                self.database = "away"
                wait = self._pace / 5 if isinstance(error, TimeoutError) else self._pace
                events.emit("heartbeat.missed", error=events.describe(error))

    async def beat(self) -> float:
        """Beat once, and rescue the jobs of the dead; returns in how many seconds to beat again."""
        asked_at = time.monotonic()
        thorough = asked_at >= self._thorough_at
        beats = await self.leases.beat(compare=thorough)
        wait = min(self._pace, await self.rescuer.judge(beats, asked_at))
        if thorough:
            await self.rescuer.watch()
            self._thorough_at = asked_at + self.leases.lease_seconds / 4
        return wait


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; raises TimeoutError when that takes too long. It runs in a task of its own and is ended for
    certain: where a pool waits for a connection one cancellation can get lost, and a time limit with it."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        await end(task)
    if task.cancelled():
        raise TimeoutError
    return task.result()
