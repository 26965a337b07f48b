"""The worker processes of a run: each is started anew when it has ended, and woken when it stands still."""

import json
import signal
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cable import Cable
from plan import UPLOAD_SECONDS, Plan
from workers import PLUGIN, Site, Worker

ROOT = Path(__file__).parents[2]
PATHS = ":".join(map(str, (Path(__file__).parent / "plugin", PLUGIN, ROOT)))
PAUSE = 1.0
"""Seconds before a process that has ended is followed by another."""

SLOW = 0.8
"""A worker that was held up for so many seconds may be taken for dead: the shortest lease is not much longer."""


@dataclass
class Place:
    """Where one worker runs, and the next when that one has ended."""

    number: int
    cable: Cable
    ear: Cable
    """The listener's own."""
    worker: Worker | None = None
    start_at: float = 0.0
    stops: int = 0
    """Blows that stopped it so far."""
    stand_still: float | None = None
    wake_at: float | None = None
    drained: bool = False

    @property
    def works(self) -> bool:
        """Whether a worker is here that has started, has not ended and does not stand still."""
        if self.worker is None or self.worker.process.poll() is not None:
            return False
        return bool(self.worker.events("worker.started")) and self.stand_still is None


class Fleet:
    """`excused` tells why a job may have been lost by a worker, by the worker's id in the rows; `tally` counts what
    befell them, `odd_ends` tells of processes that ended without a reason, `unheard` are those that could not tell the
    database that they leave."""

    def __init__(self, site: Site, plan: Plan, storage: dict[str, str]) -> None:
        self.site = site
        self.plan = plan
        self.places = [Place(number, Cable(site.dsn), Cable(site.dsn)) for number in range(len(plan.clocks))]
        self.tally: Counter[str] = Counter()
        self.odd_ends: list[str] = []
        self.excused: defaultdict[str, set[str]] = defaultdict(set)
        self.unheard: set[str] = set()
        self._storage = storage
        self._blows = iter(plan.blows)

    def mind(self) -> None:
        """Start what has ended, and wake whom it is time to wake. To be called often."""
        for place in self.places:
            if place.worker is None:
                if time.monotonic() >= place.start_at:
                    self._start(place)
            elif place.worker.process.poll() is not None:
                self._ended(place, place.worker)
            else:
                self._wake(place, place.worker)

    def stop(self, place: Place, seconds: float) -> None:
        """Let a worker stand still."""
        if place.worker and place.stand_still is None:
            place.stand_still = seconds
            self._tell(place, "stopped", seconds)
            place.worker.signal(signal.SIGSTOP)

    def kill(self, place: Place) -> None:
        """End a worker as a crash does."""
        if place.worker:
            self.tally["killed"] += 1
            self.excuse(place, "killed")
            place.worker.signal(signal.SIGKILL)
            # Or it would count as one that works for a moment more, which may be the run's last.
            place.worker.wait()

    def drain(self, place: Place) -> None:
        """Ask a worker to leave."""
        if place.worker:
            self.tally["drained"] += 1
            place.drained = True
            place.worker.signal(signal.SIGTERM)

    def excuse(self, place: Place, reason: str) -> None:
        """Remember why this worker may lose what it holds."""
        for event in place.worker.events("worker.started") if place.worker else ():
            self.excused[event["worker_id"]].add(reason)

    def awake(self) -> bool:
        """Whether every worker runs, listens, and nobody stands still."""
        return all(place.works for place in self.places)

    def ids(self) -> set[str]:
        """Of the workers that run now, as the rows call them."""
        started = [event for place in self.places if place.worker for event in place.worker.events("worker.started")]
        return {event["worker_id"] for event in started}

    def leave(self) -> list[int]:
        """Drain all of them; returns their exit codes."""
        for place in self.places:
            self.drain(place)
        self.tally["drained"] -= len(self.places)
        codes = []
        for place in self.places:
            assert place.worker
            codes.append(place.worker.wait())
            said = place.worker.events()
            draining = [number for number, event in enumerate(said) if event["event"] == "worker.draining"]
            if draining and any(event["event"] == "database.away" for event in said[draining[0] :]):
                # Nobody is left who would see that it is gone.
                self.unheard |= {event["worker_id"] for event in place.worker.events("worker.started")}
        return codes

    def close(self) -> None:
        """End everything."""
        self.site.close()
        for place in self.places:
            place.cable.close()
            place.ear.close()

    def _start(self, place: Place) -> None:
        blows = json.dumps([asdict(blow) for blow in next(self._blows, ())])
        place.stand_still, place.wake_at, place.stops, place.drained = None, None, 0, False
        settings = {
            "lease_seconds": str(self.plan.lease), "upload_seconds": str(UPLOAD_SECONDS), "sweep_seconds": "1",
            "probe_seconds": "1", "grace_seconds": "1", **self._storage,
        }  # fmt: skip
        place.worker = self.site.start(
            **settings, DATABASE_URL=place.cable.dsn, CONSUMER_LISTEN_URL=place.ear.dsn, PYTHONPATH=PATHS,
            CHAOS_BLOWS=blows, CHAOS_CLOCK=str(self.plan.clocks[place.number]),
        )  # fmt: skip

    def _wake(self, place: Place, worker: Worker) -> None:
        if place.wake_at is not None:
            if time.monotonic() >= place.wake_at:
                worker.signal(signal.SIGCONT)
                place.stand_still = place.wake_at = None
        elif psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED:
            blows = worker.events("chaos.blow", do="stop")
            if place.stand_still is None:
                if len(blows) == place.stops:
                    # What it said has not been read yet.
                    return
                place.stand_still = blows[-1]["seconds"]
                self._tell(place, f"stopped at {blows[-1]['point']}", place.stand_still)
            place.stops = len(blows)
            place.wake_at = time.monotonic() + place.stand_still

    def _tell(self, place: Place, what: str, seconds: float) -> None:
        self.tally[what] += 1
        self.tally["zombies"] += seconds > self.plan.lease
        if seconds > SLOW:
            self.excuse(place, what)

    def _ended(self, place: Place, worker: Worker) -> None:
        code = worker.wait()
        for blow in worker.events("chaos.blow", do="kill"):
            self.tally[f"killed at {blow['point']}"] += 1
            self.excuse(place, "killed")
        if code == 1 and worker.events("job.unreleased"):
            self.excuse(place, "left without an answer of the database")
        elif not self._expected(place, worker, code):
            self.odd_ends.append(f"a worker ended with {code}: {' | '.join(worker.lines[-3:])}")
        place.worker, place.start_at = None, time.monotonic() + PAUSE

    def _expected(self, place: Place, worker: Worker, code: int) -> bool:
        if code == -signal.SIGKILL:
            return True
        if code == 0:
            return place.drained
        if code == -signal.SIGTERM:
            # Before it could hear that, or when it had nothing left to do.
            return not worker.events("worker.started") or bool(worker.events("worker.stopped"))
        if code == 3:
            return bool(worker.events("worker.draining"))
        # The database was not there when it started.
        return code == 5 and not worker.events("worker.started")
