"""A worker: claims, and beside them the listener, the heartbeat, the health file; signals and drain.

A side task that dies would take its siblings with it, so each catches what it can, says why, and asks for a drain:
the job in hand is finished or released, and the exit code tells.
"""

import asyncio
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

from consumer import events, health, preload
from consumer.assets import Assets
from consumer.claims import Claims, Until
from consumer.database import AWAY, Database
from consumer.delivery import Delivery
from consumer.engines.base import Engine
from consumer.engines.enhance import Enhancer
from consumer.engines.residency import Residency
from consumer.errors import StorageUnusableError, UsageError
from consumer.failures import Failures
from consumer.hands import Hands
from consumer.heartbeat import Heartbeat
from consumer.intake import Intake
from consumer.job import JobType
from consumer.lane import Lane
from consumer.lease import Leases, Trust
from consumer.listen import Listener
from consumer.process import Workshop
from consumer.queue import Queue
from consumer.references import References
from consumer.rescue import Rescuer
from consumer.settings import Settings
from consumer.storage.base import Storage
from consumer.tasks import end
from consumer.turns import Turns, in_place
from consumer.watchdog import Watchdog

OK, FAILED, UNUSABLE, REFUSED = 0, 1, 3, 5


class Worker:
    """One worker process."""

    def __init__(
        self,
        worker_id: UUID,
        database: Database,
        listen_dsn: str,
        storage: Storage,
        engines: Mapping[str, Engine],
        job_types: Mapping[str, JobType],
        settings: Settings,
        until: Until,
        pulse: Database | None = None,
        enhancer: Enhancer | None = None,
        default: str | None = None,
        residency: Residency | None = None,
    ) -> None:
        """`pulse` is a connection for the heartbeat, which then never queues behind statements that wait for a lock.
        `enhancer` rewrites prompts; None where no engine here could make use of it. `default` is the engine to load
        before the first claim. `residency` counts the loads."""
        self.settings = settings
        self.default = default
        self.loads, self.moves = (residency.loads, residency.moves) if residency else (Counter[str](), Counter[str]())
        self.gate = database.gate
        self.listener = Listener(listen_dsn, database, settings.probe_seconds)
        self.job_types = job_types
        self.engine_names = tuple(sorted({job_type.engine for job_type in job_types.values()}))
        served = tuple(job_types)
        self.queue = Queue(database, worker_id, settings.max_attempts, settings.priority_seconds, served)
        keeper = Queue(pulse or database, worker_id, settings.max_attempts, served=served)
        trust, name = Trust(settings.lease_seconds, settings.upload_seconds), f"{socket.gethostname()}:{os.getpid()}"
        self.leases = Leases(
            keeper, name, self.engine_names, settings.lease_seconds, trust, lambda: self.listener.lock_key
        )
        self.hands = Hands(self.leases, 2 * settings.claim_batch)
        self.heartbeat = Heartbeat(self.leases, Rescuer(keeper, settings.lease_seconds))
        self.listener.on_lock = self.heartbeat.hurry
        self.lane = Lane(Watchdog(settings.phase_seconds))
        assets = Assets(database)
        self.delivery = Delivery(assets, storage, trust, settings.upload_seconds)
        self.shop = Workshop(
            self.queue, assets, engines, job_types, self.lane, self.delivery, References(storage), enhancer,
            Failures(settings.max_failures), self._unfit,
        )  # fmt: skip
        self.claims = Claims(self.shop, self.leases, self.hands, settings, until, self.drain, self._guard)
        self.exit_code = OK
        self._state: health.State = "starting"
        self._draining = asyncio.Event()
        self._health_news = asyncio.Event()
        pace = partial(self.listener.pace, settings.sweep_seconds)
        reach = self.delivery.reach
        turns = Turns(served, partial(in_place, job_types, engines), settings.affinity_seconds)
        self.intake = Intake(self.queue, self.leases, turns, pace, self.claims.gone_idle, lambda: reach.away)
        reach.on_back = partial(self.intake.hint, "line")
        self._hearing = asyncio.Event()
        self._hurry = asyncio.Event()
        self._signals = 0

    async def run(self) -> int:
        """Work until told to stop or out of work; returns the exit code."""
        async with self._beside(health=self._tell_health):
            await self._introduce()
            self._enter("loading" if self.default else "ready")
            try:
                listen = partial(self.listener.run, self._hint, self.leases.cancel)
                keep = self.heartbeat.keep
                async with self._beside(
                    listener=listen, heartbeat=keep, gate=self._give_up, storage=self._mind_storage,
                    notice=self._mind_notice,
                ):  # fmt: skip
                    events.emit("worker.started", worker_id=self.queue.worker_id, engines=",".join(self.engine_names))
                    claims = asyncio.create_task(self._guard("claims", self._claims))
                    await self._draining.wait()
                    await self.hands.finish(claims, self._hurry, self.settings.grace_seconds)
            finally:
                await self._leave()
        found_by = {f"found_by_{source}": count for source, count in self.intake.found_by.items()}
        loads, moves, taken = counted(self.loads), counted(self.moves), self.claims.taken
        events.emit("worker.stopped", jobs=taken, exit_code=self.exit_code, loads=loads, moves=moves, **found_by)
        return self.exit_code

    def drain(self, reason: str, exit_code: int = OK) -> None:
        """Take no more jobs; finish or release those in hand."""
        if not self._draining.is_set() or exit_code != OK:
            events.emit("worker.draining", level=logging.WARNING if exit_code else logging.INFO, reason=reason)
        self.exit_code = self.exit_code or exit_code
        self._draining.set()
        self._health_news.set()
        self.intake.close()

    def handle_signals(self) -> None:
        """SIGTERM and SIGINT drain; a second one releases at once; a third ends the process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)

    def _on_signal(self, name: str) -> None:
        self._signals += 1
        self._leave_soon(name)
        if self._signals == 2:
            self.hands.stop()
            self.hands.cancel()
        elif self._signals > 2:
            os._exit(FAILED)

    def _leave_soon(self, reason: str) -> None:
        self._hurry.set()
        self.lane.ending = True
        self.drain(reason)

    async def _introduce(self) -> None:
        await self.delivery.reach.ask()
        missing = sorted(set(self.job_types) - await self.queue.known_job_types())
        if missing:
            raise UsageError(
                f"The database does not know these job types: {', '.join(missing)}. Run `consumer job-types push`."
            )
        try:
            await self.heartbeat.beat()
        except AWAY as error:
            # Read-only for a while, or gone since it told its job types: the next heartbeat comes soon.
            events.emit("heartbeat.missed", error=events.describe(error))

    def _enter(self, state: health.State) -> None:
        self._state = state
        self._health_news.set()

    def _hint(self, source: str) -> None:
        self._hearing.set()
        self.intake.hint(source)

    async def _claims(self) -> None:
        if self.default:
            engine, leaving = self.shop.engines[self.default], self._draining
            await preload.before_claims(self.default, engine, self.lane, self._hearing, leaving, self._unfit)
            self._enter("ready")
        await self.claims.make(self.intake, self._draining)

    def _unfit(self, reason: str) -> None:
        self.lane.ending = True
        self.drain(reason, UNUSABLE)

    async def _mind_storage(self) -> None:
        try:
            await self.delivery.reach.keep()
        except StorageUnusableError as error:
            self._unfit(str(error))

    async def _mind_notice(self) -> None:
        if self.settings.notice_file or self.settings.notice_url:
            from consumer import notice  # noqa: PLC0415 it takes an eighth of a second

            self._leave_soon(await notice.wait(self.settings.notice_file, self.settings.notice_url))

    async def _give_up(self) -> None:
        await self.gate.given_up.wait()
        # What is in hand gets the grace period; what cannot be written then, the lease frees.
        self._hurry.set()
        self.drain("the database refuses the password", REFUSED)

    async def _tell_health(self) -> None:
        if self.settings.health_file:
            await health.keep(self.settings.health_file, self.report, self._health_news)

    def report(self) -> health.Report:
        """How this worker is."""
        return health.Report(
            worker_id=self.queue.worker_id,
            pid=os.getpid(),
            state="draining" if self._draining.is_set() else self._state,
            database=self.heartbeat.database,
            listener=self.listener.state,
            storage="away" if self.delivery.reach.away else "there",
            jobs_in_hand=len(self.leases.held),
            found_by=self.intake.found_by,
            deaf=self.listener.times_deaf,
            lease_seconds=self.settings.lease_seconds,
            loads=dict(self.loads),
            moves=dict(self.moves),
        )

    @asynccontextmanager
    async def _beside(self, **works: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._guard(name, work)) for name, work in works.items()]
        try:
            yield
        finally:
            await end(*tasks)

    async def _guard(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 a task that dies must not take the job in hand with it
            events.emit("worker.task_died", level=logging.ERROR, task=name, error=events.describe(error))
            self.drain(f"the task {name} died", FAILED)

    async def _leave(self) -> None:
        self.lane.close()
        self.delivery.close()
        for job_id in self.leases.held:
            # The database was away too long to say so: the lease frees it.
            events.emit("job.unreleased", level=logging.WARNING, job_id=job_id)
            self.exit_code = self.exit_code or FAILED
        try:
            if not self.leases.held:
                async with asyncio.timeout(1):
                    await self.queue.delete_worker()
        except (*AWAY, TimeoutError) as error:
            events.emit("database.away", error=events.describe(error))


def counted(counts: Mapping[str, int]) -> str:
    """Counts in one field of a log line: `sdxl=2 wan=1`."""
    return " ".join(f"{name}={count}" for name, count in counts.items())
