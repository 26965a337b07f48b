"""Whether the storage is there: told by the uploads, and asked while it is away.

While it is away no job is claimed, for its pictures could not be kept; and a job that waited too long for it is given
back with its attempt.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from consumer import events
from consumer.errors import ConsumerError, StorageAwayError, StorageUnavailableError
from consumer.storage.base import Storage

LONGEST_PAUSE = 30.0


class Reach:
    """What is known of one storage. `on_back` is called when it is there again."""

    def __init__(self, storage: Storage, seconds: float) -> None:
        """`seconds` is how long an answer may take."""
        self.storage = storage
        self.seconds = seconds
        self.on_back: Callable[[], None] = lambda: None
        self._away = asyncio.Event()

    @property
    def away(self) -> bool:
        """Whether it did not answer when it was last spoken to."""
        return self._away.is_set()

    def lost(self, error: BaseException) -> None:
        """It did not answer; said once."""
        if not self.away:
            events.emit("storage.away", level=logging.WARNING, error=events.describe(error))
        self._away.set()

    def found(self) -> None:
        """It answered."""
        if self.away:
            self._away.clear()
            events.emit("storage.back")
            self.on_back()

    async def ask(self) -> bool:
        """Whether it answers now, with no more than a question about the bucket. Raises StorageUnusableError."""
        try:
            async with asyncio.timeout(self.seconds):
                await self.storage.check()
        except (StorageUnavailableError, TimeoutError) as error:
            self.lost(error)
            return False
        self.found()
        return True

    async def judge(self, error: StorageUnavailableError) -> ConsumerError:
        """`error`, or StorageAwayError where the storage answers nothing at all."""
        return error if await self.ask() else StorageAwayError(str(error))

    async def keep(self) -> None:
        """Ask again and again while it is away, for ever. Raises StorageUnusableError."""
        while True:
            await self._away.wait()
            pause = 1.0
            while self.away:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 jitter is no secret
                pause = min(LONGEST_PAUSE, 2 * pause)
                if self.away:
                    await self.ask()
