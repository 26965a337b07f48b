"""The jobs in hand: how many there may be, and how they end when the worker leaves."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from consumer import events
from consumer.errors import DrainingError
from consumer.lease import Lease, Leases
from consumer.pace import Pace

MOST = 6
"""Jobs that may be in hand at once: one on the lane, one that gets ready, the others in delivery."""

STOP_SECONDS = 2.0
"""How long a job may take, once the grace period is over, to notice that it must stop."""

LOOK_SECONDS = 0.2
"""Between two looks at which of the jobs in hand will be done in time."""

FOR_DELIVERY = 0.1
"""The share of the grace period, at its end, in which nothing is on the lane any more: what left it must be stored."""

FOR_FIRST_STEP = 0.2
"""The share of the grace period in which a job must take its first step. Its pace is not known before; and one that
still loads a model then, or whose steps last as long, hardly has time for all of them."""


class Hands:
    """Each job is worked on in a task of its own. `forced` tells whether one had to be cancelled in the middle."""

    def __init__(self, leases: Leases, most: int = MOST) -> None:
        """`most` counts where it is more than MOST."""
        self.leases = leases
        self.forced = False
        self._room = asyncio.Semaphore(max(MOST, most))
        self._tasks: dict[Lease, asyncio.Task[None]] = {}

    async def empty(self) -> None:
        """Wait until no job is in hand."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())
            # For what is done when a task is over.
            await asyncio.sleep(0)

    async def reach(self) -> None:
        """Wait until there is room for one more job, which `work` or `let_go` gives back."""
        await self._room.acquire()

    async def reach_more(self, most: int) -> int:
        """Take room for as many jobs as there is room for now, `most` at most, without waiting; returns how many."""
        more = 0
        while more < most and not self._room.locked():
            await self._room.acquire()
            more += 1
        return more

    def let_go(self, jobs: int = 1) -> None:
        """So many jobs for which there was room did not come."""
        for _ in range(jobs):
            self._room.release()

    def work(self, lease: Lease, job: Coroutine[Any, Any, None]) -> None:
        """Begin to work on a job for which there is room."""
        task = self._tasks[lease] = asyncio.create_task(job)
        task.add_done_callback(lambda _: self._ended(lease))

    async def finish(self, claims: asyncio.Task[None], hurry: asyncio.Event, grace_seconds: float) -> None:
        """Finish what fits in the grace period, which begins with `hurry`; release the rest as soon as that is known.
        `claims` may bring one more job."""
        jobs, hurried = asyncio.create_task(self._all_ended(claims)), asyncio.create_task(hurry.wait())
        await asyncio.wait({jobs, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        end = time.monotonic() + grace_seconds
        while not jobs.done() and (left := end - time.monotonic()) > 0:
            self._release_what_does_not_fit(left, grace_seconds)
            await asyncio.wait({jobs}, timeout=min(LOOK_SECONDS, left))
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
        for lease in list(self._tasks):
            self._cancel(lease)

    def _release_what_does_not_fit(self, left: float, grace_seconds: float) -> None:
        for lease in self.leases.held.values():
            if lease.stopped is None and (reason := too_late(lease.pace, left, grace_seconds)):
                events.emit("job.stopped", job_id=lease.job.id, reason=reason)
                lease.stop(DrainingError("The worker is going away."))
                if lease.pace:
                    # Its row does not wait for the end of the step.
                    self._cancel(lease)

    def _cancel(self, lease: Lease) -> None:
        # One whose row is about to be written has stopped; without its task, nobody would wait for the row.
        if lease in self._tasks and not lease.settling:
            self.forced |= self._tasks[lease].cancel()

    def _ended(self, lease: Lease) -> None:
        del self._tasks[lease]
        self._room.release()

    async def _all_ended(self, claims: asyncio.Task[None]) -> None:
        while busy := {task for task in (*self._tasks.values(), claims) if not task.done()}:
            await asyncio.wait(busy)


def too_late(pace: Pace | None, left: float, grace_seconds: float) -> str | None:
    """Why a job at this pace will not be done in the seconds that are `left` of the grace period; None if it may be."""
    if pace is None:
        return "it has not begun"
    if pace.off_lane:
        return None
    needed = pace.remaining()
    if needed is None:
        return "it took no step in time" if left < grace_seconds * (1 - FOR_FIRST_STEP) else None
    return f"it needs about {needed:.0f} seconds more" if needed > left - grace_seconds * FOR_DELIVERY else None
