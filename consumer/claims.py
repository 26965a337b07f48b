"""The loop that claims: while there is room for a job, take the next ones in line and begin them."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from consumer.database import AWAY
from consumer.footprint import footprint_gb
from consumer.hands import Hands
from consumer.intake import Intake
from consumer.lane import Turn
from consumer.lease import Lease, Leases
from consumer.process import Workshop, process
from consumer.settings import Settings

Guard = Callable[[str, Callable[[], Awaitable[None]]], Coroutine[Any, Any, None]]
"""Runs work under a name; should it die, the worker drains."""


@dataclass(frozen=True, slots=True)
class Until:
    """When the worker ends by itself; never, if nothing is said. `idle_exit` is in seconds."""

    once: bool = False
    drain_and_exit: bool = False
    idle_exit: float | None = None
    max_jobs: int | None = None


class Claims:
    """`taken` counts the jobs. `drain(reason)` is called when the worker is to take no more."""

    def __init__(
        self, shop: Workshop, leases: Leases, hands: Hands, settings: Settings, until: Until,
        drain: Callable[[str], None], guard: Guard,
    ) -> None:  # fmt: skip
        self.shop = shop
        self.leases = leases
        self.hands = hands
        self.settings = settings
        self.until = until
        self.taken = 0
        self._drain = drain
        self._guard = guard
        self._one_by_one = False

    async def make(self, intake: Intake, draining: asyncio.Event) -> None:
        """Claim until `draining`."""
        while not draining.is_set():
            await self.hands.reach()
            turn = await self.shop.lane.turn()
            room = 1 + await self.hands.reach_more(self._batch() - 1)
            leases = await intake.next_jobs(turn.begin_last, room)
            self.hands.let_go(room - len(leases))
            if not leases:
                turn.release()
                return
            self.taken += len(leases)
            await self._begin(leases, turn)
            if self.until.once or self.taken == self.until.max_jobs:
                self._drain("that was the last job asked for")

    def gone_idle(self, seconds: float) -> float:
        """Nothing to do for so long: leave if that is what was asked for; else how long to wait at most."""
        if self.until.once or self.until.drain_and_exit:
            self._drain("nothing is left to do")
        elif self.until.idle_exit is not None and seconds >= self.until.idle_exit:
            self._drain("idle for long enough")
        return math.inf if self.until.idle_exit is None else max(0.0, self.until.idle_exit - seconds)

    def _batch(self) -> int:
        left = math.inf if self.until.max_jobs is None else self.until.max_jobs - self.taken
        return 1 if self.until.once or self._one_by_one else int(min(self.settings.claim_batch, left))

    async def _begin(self, leases: list[Lease], turn: Turn) -> None:
        """Work on these jobs. One that ended with its worker may be what ends workers: it is worked on alone, and costs
        no other one an attempt."""
        suspects = [lease for lease in leases if lease.job.lost]
        self._one_by_one = bool(suspects)
        for lease in suspects[1:]:
            await self.shop.queue.release_job(lease.job.id, lease.job.claim_id)
            self.leases.remove(lease)
            self.hands.let_go()
            self.taken -= 1
        ordered = [*(lease for lease in leases if not lease.job.lost), *suspects[:1]]
        for place, lease in enumerate(ordered):
            if lease.job.lost:
                await self.hands.empty()
            self._start(lease, self.shop.lane.later() if place else turn)
        if suspects:
            await self.hands.empty()

    def _start(self, lease: Lease, turn: Turn) -> None:
        self.hands.work(lease, self._guard("job", partial(self._work, lease, turn)))

    async def _work(self, lease: Lease, turn: Turn) -> None:
        try:
            await process(lease, turn, self.shop)
            self.leases.remove(lease)
        finally:
            turn.release()
        if lease.job.limited:
            # Another job of this user may run now; should the database be away, the next sweep sees to it.
            with suppress(*AWAY):
                await self.shop.queue.admit_jobs([lease.job.user_id])
        most = self.settings.max_memory_gb
        if most is not None and (taken := footprint_gb()) > most:
            self._drain(f"this process takes {taken:.2f} GB of memory, and CONSUMER_MAX_MEMORY_GB allows {most:g}")
