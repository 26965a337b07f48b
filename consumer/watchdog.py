"""Notices work that hangs: each phase has a limit to how long it may last without a word from the engine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from consumer.engines.base import Phase


class Watch:
    """Over one job, while it is on the lane."""

    def begin(self, phase: Phase) -> None:
        """`phase` begins now, or goes on after a word from the engine. Called from any thread."""


class Watchdog:
    """The limits of one worker: seconds for each phase."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds = seconds

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Watch]:
        """Watch over a job. Raises EngineHungError, without waiting for the engine, when a phase lasts too long."""
        yield Watch()
