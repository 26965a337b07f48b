"""Notices work that hangs: each phase has a limit to how long it may last without a word from the engine."""

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from consumer.engines.base import Phase
from consumer.errors import EngineHungError

T = TypeVar("T")

TICK = 1.0
"""Seconds between two looks, where the limits are not short."""


class Watchdog:
    """Over the work on one lane. It looks only while something runs there: an engine whose output waits for delivery
    does not hang."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        """`seconds`: the limit of each phase by its name."""
        self._seconds = seconds
        self._tick = min(TICK, min(seconds.values()) / 10)
        self._phase = Phase.load
        self._words = 0
        self._hung: EngineHungError | None = None

    def begin(self, phase: Phase) -> None:
        """`phase` begins now, or goes on after a word from the engine. Called from any thread.

        Raises EngineHungError in an engine that goes on after it was given up."""
        if self._hung:
            raise EngineHungError(self._hung.phase, self._hung.seconds)
        self._phase = phase
        self._words += 1

    async def watch(self, work: asyncio.Future[T]) -> T:
        """What `work` returns. Raises EngineHungError, without waiting for it, when a phase lasts too long."""
        words, silent = self._words, 0.0
        try:
            while not (await asyncio.wait({work}, timeout=self._tick))[0]:
                # In parts, because time in which this process stood still proves nothing.
                silent = silent + self._tick if words == self._words else 0.0
                words, phase = self._words, self._phase.value
                if silent >= self._seconds[phase]:
                    self._hung = EngineHungError(phase, self._seconds[phase])
                    raise self._hung
            return work.result()
        finally:
            work.cancel()
