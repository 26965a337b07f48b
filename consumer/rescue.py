"""Finding dead workers, by nothing but their heartbeats and this worker's own clock.

A worker is dead when its count stood still for a whole lease of *our* uninterrupted watch: a database that was away
for an hour makes nobody look dead, and no two machines' clocks are ever compared.
"""

import time
from uuid import UUID

from consumer import events
from consumer.queue import Beat, Queue


class Rescuer:
    """Watches the other workers; call `watch` a few times per lease."""

    def __init__(self, queue: Queue, lease_seconds: float) -> None:
        self.queue = queue
        self.lease_seconds = lease_seconds
        self._seen: dict[UUID | None, tuple[int | None, float]] = {}

    def forget(self) -> None:
        """The watch was interrupted: every observation starts anew."""
        self._seen.clear()

    async def watch(self) -> None:
        """Look at every worker once, and rescue the jobs of those that are dead."""
        asked_at = time.monotonic()
        beats = await self.queue.watch_workers()
        for beat in self._silent(beats, asked_at, time.monotonic()):
            jobs = await self.queue.rescue_jobs(beat.worker_id, beat.beats)
            for job_id, status in jobs:
                events.emit("job.rescued", job_id=job_id, status=status, lost_worker=beat.worker_id)
            self._seen.pop(beat.worker_id, None)

    def _silent(self, beats: list[Beat], asked_at: float, answered_at: float) -> list[Beat]:
        # Between two looks at least the time from the first one's answer to the second one's question has passed.
        seen: dict[UUID | None, tuple[int | None, float]] = {}
        silent = []
        for beat in beats:
            count, since = self._seen.get(beat.worker_id, (beat.beats, answered_at))
            if count != beat.beats:
                since = answered_at
            seen[beat.worker_id] = (beat.beats, since)
            patience = beat.lease_seconds or self.lease_seconds
            if beat.worker_id != self.queue.worker_id and asked_at - since >= patience:
                silent.append(beat)
        self._seen = seen
        return silent
