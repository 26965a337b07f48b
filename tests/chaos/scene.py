"""One run: a database, a storage, workers, users and faults; then the evidence."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from consumer import embedded
from crowd import Crowd
from disk import Disk
from evidence import Evidence, Record, objects, rows, tried
from fleet import Fleet
from invariants import FINAL, Violation, check
from plan import Plan
from postgres import Database, Databases
from stand_in import SECRET_KEY, StorageServer
from weather import Weather
from workers import Site

PATIENCE = 60.0
"""Seconds after the last fault in which every job must have ended."""

TICK = 0.02


@dataclass
class Outcome:
    """What a run showed."""

    plan: Plan
    seconds: float = 0.0
    slept: float = 0.0
    """The longest time for which this process itself stood still: the machine was busy."""
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    log: str = ""
    """What the workers said, where something is wrong."""


def play(plan: Plan, server: embedded.Server, databases: Databases, folder: Path) -> Outcome:
    """Do what the plan says on a database of its own; the server is as before afterwards."""
    with scene(plan, server, databases, folder) as stage:
        return stage.play()


@contextmanager
def scene(plan: Plan, server: embedded.Server, databases: Databases, folder: Path) -> Iterator["Scene"]:
    """Everything that a run needs."""
    with databases.clone(databases.migrated) as db:
        try:
            with ExitStack() as parts:
                yield Scene(plan, server, db, folder, parts)
        finally:
            mend(server, db)


def mend(server: embedded.Server, db: Database) -> None:
    """Let the server run and take writes, and keep nothing for a database that is to be dropped."""
    if server._process is None:
        server.start_postgres()
    with psycopg.connect(server.dsn(user="supabase_admin"), autocommit=True) as admin:
        admin.execute("alter system reset default_transaction_read_only")
        admin.execute("select pg_reload_conf()")
        admin.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s", (db.name,)
        )


class Scene:
    """The parts of a run, and its course."""

    def __init__(self, plan: Plan, server: embedded.Server, db: Database, folder: Path, parts: ExitStack) -> None:
        self.plan = plan
        self.server = server
        self.db = db
        self.outcome = Outcome(plan)
        self.site = Site(db.dsn, folder)
        for name in ("drawn", "prompts", "loads"):
            # What the puppets note is of no use here, and a full disk must not end them.
            (self.site.gates / name).symlink_to("/dev/null")
        self.api = parts.enter_context(StorageServer()) if plan.storage == "supabase" else None
        self.disk = None if self.api else Disk(self.site.storage, self._pids)
        if self.disk:
            parts.callback(self.disk.close)
        self.fleet = Fleet(self.site, plan, self._storage())
        parts.callback(self.fleet.close)
        self.record = Record(db)
        self.crowd = Crowd(db, plan.orders)

    def play(self) -> Outcome:
        """The whole run, and the check of what it left."""
        began = time.monotonic()
        self.perform()
        outcome, evidence = self.outcome, self.gather()
        outcome.violations += check(evidence)
        outcome.ends = Counter(job["status"] for job in evidence.jobs)
        outcome.attempts = Counter(job["attempts"] for job in evidence.jobs)
        outcome.seconds = time.monotonic() - began
        if outcome.violations:
            outcome.log = "\n".join(f"--- {worker.pid}\n{worker.output}" for worker in self.site.workers)
        return outcome

    def perform(self) -> None:
        """From the start of the workers until the last of them has left."""
        self._wait(self.fleet.awake, "the workers have started")
        weather = Weather(self.plan, self.server, self.fleet, self.api, self.disk)
        self.crowd.start()
        self._wait(lambda: weather.over and not self.crowd.is_alive(), "faults and users are done", weather)
        if self.crowd.failure:
            raise self.crowd.failure
        self._wait(self._all_ended, "every job has ended")
        # Idle, too: who has just ended a job may still come to a point at which it is killed.
        self._wait(lambda: self.fleet.awake() and self._idle() == self.fleet.ids(), "only live workers have rows")
        codes = self.fleet.leave()
        if any(codes):
            self._refuse("workers leave well", f"exit codes {codes}")
        for odd in self.fleet.odd_ends:
            self._refuse("workers end for a reason", odd)
        wrong = sum(map(bool, self.plan.clocks))
        self.outcome.faults = self.fleet.tally + weather.tally + Counter({"clock wrong": wrong})

    def gather(self) -> Evidence:
        """What the run left."""
        crowd = self.crowd
        return Evidence(
            self.plan.orders, crowd.users, crowd.cancelled, crowd.repeated, self.fleet.excused, self.fleet.unheard,
            tried(self.api, self.disk is None or self.disk.kind == "tmpfs"), **rows(self.db),
            objects=objects(self.api, self.site.storage), changes=self.record.read_all(),
        )  # fmt: skip

    def _wait(self, done: Callable[[], bool], what: str, weather: Weather | None = None) -> None:
        """Mind everything until `done`; a violation when that takes too long."""
        deadline, looked = time.monotonic() + PATIENCE, time.monotonic()
        while not done():
            if not weather:
                self.outcome.slept = max(self.outcome.slept, time.monotonic() - looked)
            looked = time.monotonic()
            if looked > deadline:
                self._refuse("everything ends in time", f"not after {PATIENCE:g} seconds: {what}")
                return
            self.fleet.mind()
            if weather:
                weather.mind()
            time.sleep(TICK)

    def _refuse(self, invariant: str, what: str) -> None:
        self.outcome.violations.append(Violation(invariant, "the run", what))

    def _all_ended(self) -> bool:
        with self.db.connect() as connection:
            # Jobs that wait for their next attempt need not wait long: what happens then is what matters here.
            connection.execute(
                "update public.jobs set available_at = now() where status = 'queued' and available_at > now()"
            )
            unfinished = connection.execute(
                "select from public.jobs where status <> all (%s) limit 1", (list(FINAL),)
            ).fetchone()
        time.sleep(0.1)
        return unfinished is None

    def _idle(self) -> set[str]:
        """The workers that have rows, once all of them are idle."""
        with self.db.connect() as connection:
            rows = connection.execute("select id, idle_since from consumer.workers").fetchall()
        return {str(worker) for worker, _ in rows} if all(since for _, since in rows) else set()

    def _pids(self) -> list[int]:
        return [place.worker.pid for place in self.fleet.places if place.worker]

    def _storage(self) -> dict[str, str]:
        if self.api is None:
            return {"storage": "local"}
        return {"storage": "supabase", "SUPABASE_URL": self.api.url, "SUPABASE_SECRET_KEY": SECRET_KEY}
