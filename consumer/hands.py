"""The jobs in hand: how many there may be, and how they end when the worker leaves."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from consumer.errors import DrainingError
from consumer.lease import Leases

MOST = 6
"""Jobs that may be in hand at once: one on the lane, one that gets ready, the others in delivery."""

STOP_SECONDS = 2.0
"""How long a job may take to notice that it must stop: one step, or a part that cannot be interrupted."""


class Hands:
    """Each job is worked on in a task of its own. `forced` tells whether one had to be cancelled in the middle."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        self.forced = False
        self._room = asyncio.Semaphore(MOST)
        self._tasks: set[asyncio.Task[None]] = set()

    async def reach(self) -> None:
        """Wait until there is room for one more job, which `work` or `let_go` gives back."""
        await self._room.acquire()

    def let_go(self) -> None:
        """No job came."""
        self._room.release()

    def work(self, job: Coroutine[Any, Any, None]) -> None:
        """Begin to work on a job for which there is room."""
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def finish(self, claims: asyncio.Task[None], hurry: asyncio.Event, grace_seconds: float) -> None:
        """Finish what fits in the grace period, which begins with `hurry`; release the rest. `claims` may bring one
        more job."""
        jobs, hurried = asyncio.create_task(self._all_ended(claims)), asyncio.create_task(hurry.wait())
        await asyncio.wait({jobs, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        await asyncio.wait({jobs}, timeout=grace_seconds)
        self.stop()
        await asyncio.wait({jobs}, timeout=STOP_SECONDS)
        self.cancel()
        await asyncio.wait({jobs}, timeout=STOP_SECONDS)
        jobs.cancel()

    def stop(self) -> None:
        """Ask every job to end."""
        for lease in list(self.leases.held.values()):
            lease.stop(DrainingError("The worker is going away."))

    def cancel(self) -> None:
        """End what did not stop when it was asked to."""
        for task in self._tasks:
            task.cancel()
            self.forced = True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _all_ended(self, claims: asyncio.Task[None]) -> None:
        while busy := {task for task in (*self._tasks, claims) if not task.done()}:
            await asyncio.wait(busy)
