"""Holding jobs: why one must stop, and how long this worker may trust that it still holds them.

A worker's heartbeat is one row. The trust window runs from the moment the last confirmed heartbeat was *sent*: no
other worker can take our jobs before a whole lease has passed since then, so an upload that is over within the lease
cannot meet the upload of a successor. If the heartbeat named the lock of our listening connection, a successor may
begin DEAD_SECONDS later: the lock may be gone without our knowing.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from uuid import UUID

from consumer import events
from consumer.errors import JobCancelledError, LeaseLostError, StoppedError
from consumer.job import Job, Status
from consumer.pace import Pace
from consumer.queue import Beat, Queue
from consumer.tasks import end

T = TypeVar("T")

DEAD_SECONDS = 5.0
"""A worker that sent no heartbeat for so long is dead if its lock is free."""

LONGEST_PACE = 2.0


def pace(lease_seconds: float) -> float:
    """Seconds between two heartbeats of a worker with this lease."""
    return min(LONGEST_PACE, lease_seconds / 4)


class Lease:
    """One claimed job in this process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.settling = False
        self.settled = False
        self.stopped: StoppedError | None = None
        self.pace: Pace | None = None
        """None until the job has begun on the lane."""
        self._stopping: asyncio.Future[None] | None = None

    def stop(self, error: StoppedError) -> None:
        """Ask the work to end; the first reason counts."""
        if self.stopped is None:
            self.stopped = error
            if self._stopping is not None:
                self._stopping.set_result(None)

    def check(self) -> None:
        """Raise the reason to stop, if there is one. Called from any thread, at every step."""
        if self.stopped is not None:
            raise self.stopped

    def stopping(self) -> asyncio.Future[None]:
        """Done as soon as there is a reason to stop; to be waited for with asyncio.wait, which leaves it as it is."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
            if self.stopped is not None:
                self._stopping.set_result(None)
        return self._stopping

    async def wait_stopped(self) -> None:
        """Return when there is a reason to stop."""
        await asyncio.wait({self.stopping()})

    async def hold(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; it is cancelled as soon as there is a reason to stop, which is raised."""
        working = asyncio.create_task(work)
        either: set[asyncio.Future[Any]] = {working, self.stopping()}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self.check()
            return working.result()
        finally:
            await end(working)


class Trust:
    """For how long it is certain that nobody else has our jobs."""

    def __init__(self, lease_seconds: float, upload_seconds: float) -> None:
        self._window = lease_seconds - upload_seconds
        self._locked_window = min(self._window, DEAD_SECONDS)
        self._until = time.monotonic() + self._window
        self._confirmed = asyncio.Event()

    def curtail(self, sent_at: float) -> None:
        """A heartbeat that names a lock was sent at `sent_at` (time.monotonic), and may arrive without our knowing."""
        self._until = min(self._until, sent_at + self._locked_window)

    def confirm(self, sent_at: float, locked: bool = False) -> None:
        """A heartbeat sent at `sent_at` (time.monotonic) has reached the database; it named a lock or did not."""
        self._until = sent_at + (self._locked_window if locked else self._window)
        self._confirmed.set()

    def remaining(self) -> float:
        """Seconds in which an upload may start or go on; zero or less: it may not."""
        return self._until - time.monotonic()

    async def wait(self) -> None:
        """Return as soon as there is trust."""
        while self.remaining() <= 0:
            self._confirmed.clear()
            await self._confirmed.wait()


class Leases:
    """Every job that this worker holds, and the heartbeat that keeps them."""

    def __init__(
        self,
        queue: Queue,
        name: str,
        engines: tuple[str, ...],
        lease_seconds: float,
        trust: Trust,
        lock_key: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`lock_key` tells which lock our listening connection holds, None if it holds none."""
        self.queue = queue
        self.name = name
        self.engines = engines
        self.lease_seconds = lease_seconds
        self.trust = trust
        self.lock_key = lock_key
        self.prompt = True
        """Whether the last heartbeat was answered before the next one was due."""
        self.idle = False
        self.held: dict[UUID, Lease] = {}
        self._unknown: set[tuple[UUID, int]] = set()

    def add(self, job: Job) -> Lease:
        """Hold a job that was just claimed."""
        lease = self.held[job.id] = Lease(job)
        return lease

    def remove(self, lease: Lease) -> None:
        """The job has ended here."""
        if self.held.get(lease.job.id) is lease:
            del self.held[lease.job.id]

    def cancel(self, job_id: UUID) -> None:
        """The user cancelled this job."""
        if lease := self.held.get(job_id):
            lease.stop(JobCancelledError("This job was cancelled."))

    async def beat(self, compare: bool = True) -> list[Beat]:
        """Send one heartbeat, and compare what the database says we hold with what we hold, as always where that is
        anything. Returns every worker's heartbeat."""
        before = list(self.held.values())
        # While the database is slow, the lease counts: uploads would wait for ever if they were trusted for less.
        lock_key, self.prompt = self.lock_key() if self.prompt else None, False
        sent_at = time.monotonic()
        if lock_key is not None:
            self.trust.curtail(sent_at)
        beats = await self.queue.heartbeat(self.name, self.engines, self.lease_seconds, self.idle, lock_key)
        self.prompt = time.monotonic() - sent_at <= pace(self.lease_seconds)
        named = await self.queue.held_jobs() if before or compare else set()
        for lease in before:
            if (lease.job.id, lease.job.claim_id) not in named and not lease.settled:
                await self._lost(lease)
        # Only now, for trust would let a lost job's uploads go on.
        self.trust.confirm(sent_at, locked=lock_key is not None)
        if compare:
            await self._release_unknown(named)
        return beats

    async def _lost(self, lease: Lease) -> None:
        if await self.queue.read_status(lease.job) == Status.cancelled:
            lease.stop(JobCancelledError("This job was cancelled."))
        else:
            lease.stop(LeaseLostError("The job is no longer held by this worker."))

    async def _release_unknown(self, named: set[tuple[UUID, int]]) -> None:
        # A claim whose reply was lost. Seen twice, because a reply may still be on its way the first time.
        held = {(lease.job.id, lease.job.claim_id) for lease in self.held.values()}
        unknown = named - held
        for job_id, claim_id in unknown & self._unknown:
            events.emit("job.released", job_id=job_id, reason="claim reply lost")
            await self.queue.release_job(job_id, claim_id)
        self._unknown = unknown
