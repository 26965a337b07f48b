"""Finding dead workers, by their heartbeats, their locks and this worker's own clock.

A worker is dead when its count stood still for a whole lease of *our* uninterrupted watch; for DEAD_SECONDS of it, if
the worker named a lock that is free. So a database that was away for an hour makes nobody look dead, and no two
machines' clocks are ever compared. A lock that is held proves nothing: a process can stand still for ever.
"""

import asyncio
import logging
import math
import time
from uuid import UUID

from consumer import events
from consumer.lease import DEAD_SECONDS, pace
from consumer.queue import Beat, Queue

RESCUE_SECONDS = 1.0
"""How long a rescue may wait for locks, at each try."""


class Watch:
    """How long each worker's count stood still, as far as we looked. What lies between two looks counts for at most
    `longest_gap` seconds: if this process stood still itself, the others may have done so with it."""

    def __init__(self, longest_gap: float) -> None:
        self.longest_gap = longest_gap
        self._still: dict[UUID | None, tuple[int | None, float]] = {}
        self._answered_at = math.inf

    def forget(self) -> None:
        """The watch was interrupted: every observation starts anew."""
        self._still.clear()

    def drop(self, worker_id: UUID | None) -> None:
        """This worker is watched from the beginning, should it come again."""
        self._still.pop(worker_id, None)

    def look(self, beats: list[Beat], asked_at: float) -> list[tuple[Beat, float]]:
        """For how many seconds each worker's count has stood still.

        `beats` is the answer, which has just arrived, to a question of `asked_at` (time.monotonic)."""
        # At least the time from the last look's answer to this one's question has passed between them.
        gap = min(asked_at - self._answered_at, self.longest_gap)
        still = {}
        for beat in beats:
            count, seconds = self._still.get(beat.worker_id, (None, 0.0))
            unchanged = beat.worker_id in self._still and count == beat.beats
            still[beat.worker_id] = beat.beats, seconds + gap if unchanged else 0.0
        self._still, self._answered_at = still, time.monotonic()
        return [(beat, still[beat.worker_id][1]) for beat in beats]


class Rescuer:
    """Watches the other workers, and takes their jobs from those that are dead."""

    def __init__(self, queue: Queue, lease_seconds: float) -> None:
        self.queue = queue
        self.lease_seconds = lease_seconds
        self._rows = Watch(2 * pace(lease_seconds))
        self._gone = Watch(lease_seconds / 2)

    def forget(self) -> None:
        """The watch was interrupted: every observation starts anew."""
        self._rows.forget()
        self._gone.forget()

    async def judge(self, beats: list[Beat], asked_at: float) -> float:
        """Look at everybody's heartbeat, asked for at `asked_at` (time.monotonic). Returns in how many seconds one of
        them may count as dead because it is unlocked."""
        soonest = math.inf
        for beat, seconds in self._rows.look(beats, asked_at):
            lease = beat.lease_seconds or self.lease_seconds
            patience = min(DEAD_SECONDS, lease) if beat.unlocked else lease
            if seconds >= patience:
                await self._rescue(self._rows, beat, unlocked=seconds < lease)
            elif beat.unlocked:
                soonest = min(soonest, patience - seconds)
        return soonest

    async def watch(self) -> None:
        """Look for jobs whose worker is gone; call it a few times per lease."""
        asked_at = time.monotonic()
        for beat, seconds in self._gone.look(await self.queue.watch_workers(), asked_at):
            if seconds >= self.lease_seconds:
                await self._rescue(self._gone, beat)

    async def _rescue(self, watch: Watch, beat: Beat, unlocked: bool = False) -> None:
        if beat.worker_id == self.queue.worker_id:
            return
        try:
            async with asyncio.timeout(min(RESCUE_SECONDS, self.lease_seconds / 8)):
                jobs = await self.queue.rescue_jobs(beat.worker_id, beat.beats, unlocked)
        except TimeoutError:
            # Somebody has locked a row of it. Tried again after the next heartbeat, which must not wait for that.
            events.emit("rescue.delayed", level=logging.WARNING, lost_worker=beat.worker_id)
            return
        for job_id, status in jobs:
            events.emit("job.rescued", level=logging.WARNING, job_id=job_id, status=status, lost_worker=beat.worker_id)
        watch.drop(beat.worker_id)
