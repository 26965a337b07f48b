"""Calls that come at the same moment become one statement, and each still reads like a call of its own.

A job tells its story alone: it records its asset, it completes. Where many jobs of milliseconds do that at once, one
statement for all of them is many times as fast. What one of them finds in its way must not hold up the others: such a
statement waits for no lock, and whoever it leaves out makes the call alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 256
"""Calls in one statement."""


class Together(Generic[T]):
    """Gathers calls. `run` makes those of one moment, and returns the places of those that are done."""

    def __init__(self, run: Callable[[Sequence[T]], Awaitable[Collection[int]]]) -> None:
        self._run = run
        self._waiting: list[tuple[T, asyncio.Future[bool]]] = []
        self._gathering: asyncio.Task[None] | None = None

    async def __call__(self, call: T) -> bool:
        """Whether the call was made with others; if not, whoever calls must make it alone."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, done))
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather())
        return await done

    async def _gather(self) -> None:
        while self._waiting:
            calls, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            made = await self._make([call for call, _ in calls]) if len(calls) > 1 else ()
            for place, (_, done) in enumerate(calls):
                if not done.done():
                    done.set_result(place in made)
        self._gathering = None

    async def _make(self, calls: Sequence[T]) -> Collection[int]:
        try:
            return await self._run(calls)
        except Exception:  # noqa: BLE001 each call finds out alone whether it is the one that fails, and says so
            return ()
