"""How far a job is: told by the engine at every step, shown to the frontend at most once a second."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from consumer.assets import Assets
from consumer.database import AWAY
from consumer.engines.base import Phase
from consumer.lease import Lease
from consumer.pace import Pace
from consumer.tasks import end
from consumer.watchdog import Watchdog

FIRST_AFTER = 0.25
INTERVAL = 1.0
DONE = 99
"""An asset is at 100 percent when its row is recorded, not before."""


class Progress:
    """Collects steps from the lane's thread and writes them to the rows while the `async with` lasts."""

    def __init__(
        self,
        lease: Lease,
        assets: Assets,
        pending: Sequence[int],
        count: int,
        watchdog: Watchdog,
        end_soon: Callable[[], None] = lambda: None,
    ) -> None:
        """`end_soon` is called after the last step, when only the decoding is left."""
        self._end_soon = end_soon
        self._lease = lease
        self._assets = assets
        self._count = count
        self._watchdog = watchdog
        self._percent = dict.fromkeys(pending, 0)
        self._shown: dict[int, int] = {}
        self._pace = Pace()
        self._task: asyncio.Task[None] | None = None

    def on_step(self, indexes: Sequence[int], done: int, total: int, phase: Phase = Phase.step) -> None:
        """An engine's report; raises the reason to stop when there is one."""
        self._lease.check()
        self._watchdog.begin(phase)
        for index in indexes:
            self._percent[index] = min(DONE, 100 * done // max(total, 1))
        self._pace.reach(sum(self._percent.values()) / (DONE * len(self._percent)))
        if min(self._percent.values()) == DONE:
            self._loop.call_soon_threadsafe(self._end_soon)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._lease.pace = self._pace
        self._task = asyncio.create_task(self._report())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace.off_lane = True
        assert self._task
        await end(self._task)
        if not self._task.cancelled():
            self._task.result()

    async def _report(self) -> None:
        await asyncio.sleep(FIRST_AFTER)
        while True:
            steps = dict(self._percent)
            if steps != self._shown:
                news = dict(steps.items() - self._shown.items())
                with suppress(*AWAY):
                    await self._assets.progress(self._lease.job, self._overall(steps), news)
                    self._shown = steps
            await asyncio.sleep(INTERVAL)

    def _overall(self, steps: dict[int, int]) -> int:
        recorded = self._count - len(steps)
        return min(DONE, (100 * recorded + sum(steps.values())) // self._count)
