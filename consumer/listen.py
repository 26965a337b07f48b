"""NOTIFY is a hint, the sweep is the promise: what is heard here only makes things faster.

LISTEN has a connection of its own, in autocommit, because a connection inside `notifies()` answers no query. A pooler
in transaction mode accepts LISTEN and then delivers nothing, and a dead connection looks like a quiet one. So the
listener is proved: another connection notifies it of a nonce, and it is deaf if it does not hear that.

A connection that hears takes an advisory lock, each one its own, which goes with it: others see by it that we are gone.
"""

import asyncio
import logging
import math
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg

from consumer import events
from consumer.database import AWAY, DATABASE_URL, Connection, Database, conninfo
from consumer.pooler import is_pooled, is_transaction_port

JOBS, CANCEL, PROBE = "consumer_jobs", "consumer_cancel", "consumer_probe"
LISTEN_URL = "CONSUMER_LISTEN_URL"

LOCK_CLASS = 1668247155
"""The first key of our advisory locks, as sql/queries has it."""

PATIENCE = 5.0
"""Seconds in which a probe must be heard."""

DEAF_SWEEP_SECONDS = 2.0
LONGEST_PAUSE, LONGEST_PAUSE_DEAF = 30.0, 300.0

BY_POOLER = (
    "{} goes through a pooler in transaction mode (as on port 6543), which swallows notifications: "
    f"set {LISTEN_URL} to a direct or session address (port 5432)."
)
BY_CONNECTION = (
    "No notification arrives through {}, whose connection seems to be well: it is made anew. If this comes again, "
    f"set {LISTEN_URL} to a direct or session address (port 5432)."
)


class DeafError(Exception):
    """The listener did not hear its probe."""


class Listener:
    """Hears of jobs and of cancels, for ever. `times_deaf` counts the probes that were not heard; `on_lock` is called
    when the connection has taken its lock, and when it is lost."""

    def __init__(self, dsn: str, database: Database, probe_seconds: float) -> None:
        """`database` sends the probes; its gate is the one for this connection, too."""
        self.database = database
        self.probe_seconds = probe_seconds
        self.deaf = False
        self.times_deaf = 0
        self.on_lock: Callable[[], None] = lambda: None
        self._state = "connecting"
        self._info = conninfo(dsn)
        self._setting = DATABASE_URL if self._info == database.pool.conninfo else LISTEN_URL
        self._pooled = self._shared = is_transaction_port(dsn)
        self._lock_key: int | None = None
        self._failures = 0
        self._nonce = ""
        self._echo = asyncio.Event()
        self._heard_at = -math.inf

    @property
    def state(self) -> str:
        """One word: connecting, listening (not proved yet), hears, deaf, lost."""
        return "deaf" if self.deaf else self._state

    @property
    def lock_key(self) -> int | None:
        """The second key of the lock that our connection holds, while it is known to hear; else None."""
        return self._lock_key if self.state == "hears" else None

    def pace(self, seconds: float) -> float:
        """How often to sweep, where it is every so many seconds while the listener hears."""
        return min(seconds, DEAF_SWEEP_SECONDS) if self.deaf else seconds

    async def run(self, hint: Callable[[str], None], cancel: Callable[[UUID], None]) -> None:
        """Call `hint` with what told that there may be work, and `cancel` with a job that its user cancelled.

        Reconnects with jitter, and hints after each connect for whatever was missed meanwhile."""
        while True:
            try:
                await self._listen(hint, cancel)
            except DeafError:
                self._fall_deaf(hint)
                pause = self._pause()
            except (*AWAY, psycopg.Error, TimeoutError) as error:
                self._state = "lost"
                if "transaction mode" in str(error):
                    # Supavisor can be told to refuse LISTEN there.
                    self._pooled = True
                    self._fall_deaf(hint)
                pause = self._pause()
                events.emit("listener.lost", retry_in=round(pause, 1), error=events.describe(error))
            await asyncio.sleep(pause)

    async def _listen(self, hint: Callable[[str], None], cancel: Callable[[UUID], None]) -> None:
        options: dict[str, Any] = {"gate": self.database.gate, "setting": self._setting, "prepare_threshold": None}
        async with await Connection.connect(self._info, **options) as connection:
            async with asyncio.timeout(2 * PATIENCE):
                self._pooled = self._pooled or await is_pooled(connection)
                for channel in (JOBS, CANCEL, PROBE):
                    await connection.execute(f"listen {channel}")
            self._state = "listening"
            events.emit("listener.connected")
            hint("reconnect")
            self._echo = asyncio.Event()
            tasks = [asyncio.create_task(self._hear(connection, hint, cancel)), asyncio.create_task(self._prove())]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._lock_key = None
                self.on_lock()

    async def _hear(self, connection: Connection, hint: Callable[[str], None], cancel: Callable[[UUID], None]) -> None:
        while not self._echo.is_set():
            async for notification in connection.notifies(stop_after=1):
                self._take(notification, hint, cancel)
        # Not before it hears: through a pooler in transaction mode the lock would stay behind, in anybody's connection.
        if not self._shared:
            await self._lock(connection)
        async for notification in connection.notifies():
            self._take(notification, hint, cancel)

    def _take(self, notification: psycopg.Notify, hint: Callable[[str], None], cancel: Callable[[UUID], None]) -> None:
        if notification.channel == PROBE:
            if notification.payload != self._nonce:
                return
            self._echo.set()
        elif notification.channel == CANCEL:
            with suppress(ValueError):
                cancel(UUID(notification.payload))
        else:
            hint("notify")
        self._heard_at = time.monotonic()

    async def _lock(self, connection: Connection) -> None:
        key = secrets.randbelow(2**31)
        # Should something in between refuse it, there is none, and the listener goes on.
        with suppress(psycopg.Error):
            cursor = await connection.execute("select pg_try_advisory_lock(%s, %s) as held", (LOCK_CLASS, key))
            if (row := await cursor.fetchone()) and row["held"]:
                self._lock_key = key
                self.on_lock()

    async def _prove(self) -> None:
        """Probe at once, and then whenever nothing was heard for so long; raises DeafError."""
        while True:
            wait = self.probe_seconds if await self._probe() else self._patience
            while wait > 0:
                await asyncio.sleep(wait)
                wait = self._heard_at + self.probe_seconds - time.monotonic()

    async def _probe(self) -> bool:
        """Whether the probe was heard; False where it could not be sent, which proves nothing. Raises DeafError."""
        self._nonce, self._echo = secrets.token_hex(8), asyncio.Event()
        try:
            await self.database.run("probe_listener", {"nonce": self._nonce})
        except AWAY:
            return False
        # In parts, because one that ran out while this process stood still proves nothing.
        for _ in range(10):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience / 10):
                    await self._echo.wait()
                self._prove_hearing()
                return True
        raise DeafError

    @property
    def _patience(self) -> float:
        return min(PATIENCE, self.probe_seconds)

    def _prove_hearing(self) -> None:
        self._failures = 0
        if self.state != "hears":
            self.deaf, self._state = False, "hears"
            events.emit("listener.hears")

    def _fall_deaf(self, hint: Callable[[str], None]) -> None:
        self.times_deaf += 1
        if self.deaf:
            return
        # One that has heard before can hear: then it is the connection, whatever is in between.
        text = BY_POOLER if self._pooled and self._heard_at == -math.inf else BY_CONNECTION
        self.deaf = True
        events.emit("listener.deaf", level=logging.WARNING, text=text.format(self._setting))
        hint("sweep")

    def _pause(self) -> float:
        if wait := self.database.gate.closed_for():
            return wait
        self._failures += 1
        longest = LONGEST_PAUSE_DEAF if self.deaf else LONGEST_PAUSE
        pause = min(longest, 0.2 * 2.0 ** min(self._failures, 20))
        return random.uniform(0.5, 1.0) * pause  # noqa: S311 jitter is no secret
