"""The door to the database that all connections of a worker share: a password that was refused is tried slowly."""

import asyncio
import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer import events
from consumer.errors import DatabaseRefusedError

TRIES = 3
"""Refusals in a row after which a worker gives up."""


class PasswordRefusedError(DatabaseRefusedError):
    """The database does not let us in with this password; or did not, and it is too soon to ask again."""


class Gate:
    """Lets one login at a time through for each setting; after a refusal none for so many seconds, then one.

    `given_up` is set after the third refusal in a row."""

    def __init__(self, seconds: float = 150.0) -> None:
        self.seconds = seconds
        self.given_up = asyncio.Event()
        self._opens_at = 0.0
        self._refusals: Counter[str] = Counter()
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def knock(self, setting: str) -> AsyncIterator[None]:
        """Log in with the address in `setting` while this lasts, and raise PasswordRefusedError where it is refused.

        Raises PasswordRefusedError at once while it is too soon."""
        async with self._one_at_a_time[setting]:
            if self.closed_for():
                raise PasswordRefusedError(
                    f"The database refused the password in {setting}; it is too soon to ask again."
                )
            trial = self._refusals.total() > 0
            if trial:
                # For everybody else the gate stays closed until this one knows.
                self._opens_at = math.inf
            try:
                yield
            except PasswordRefusedError:
                self._refused(setting)
                raise
            else:
                del self._refusals[setting]
            finally:
                if trial and self._opens_at == math.inf:
                    self._opens_at = 0.0

    def closed_for(self) -> float:
        """Seconds before it is worth while to knock; 0 where the gate is open."""
        if self.given_up.is_set():
            return self.seconds
        left = self._opens_at - time.monotonic()
        return 1.0 if math.isinf(left) else max(0.0, left)

    def _refused(self, setting: str) -> None:
        self._opens_at = time.monotonic() + self.seconds
        self._refusals[setting] += 1
        events.emit(
            "database.refused",
            level=logging.WARNING,
            setting=setting,
            tries=self._refusals[setting],
            retry_in=round(self.seconds, 1),
        )
        if self._refusals[setting] >= TRIES:
            self.given_up.set()
