"""Calls that come at the same moment become one statement, and each still reads like a call of its own.

A job tells its story alone: it records its asset, and with the last one it completes. Where many jobs of milliseconds
do that at once, one statement for all of them is many times as fast. What one of them finds in its way must not hold up
the others: such a statement waits for nobody's row, and whoever it leaves out makes the call alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from consumer.tasks import end

T = TypeVar("T")
R = TypeVar("R")

MOST = 256
"""Calls in one statement."""

MANY = 16
"""So many calls do not wait for the statement that is under way. Fewer do, for they may be of the same job."""

AT_ONCE = 2
"""Statements under way: while the server works on one, the next is made ready here."""


class Together(Generic[T, R]):
    """Gathers calls. `run` makes those of one moment, and returns what came of each that it made, by its place."""

    def __init__(self, run: Callable[[Sequence[T]], Awaitable[Mapping[int, R]]]) -> None:
        self._run = run
        self._waiting: list[tuple[T, asyncio.Future[R | None]]] = []
        self._about_to_gather = False
        self._statements: dict[asyncio.Task[None], list[asyncio.Future[R | None]]] = {}

    async def __call__(self, call: T) -> R | None:
        """What came of the call; None where it was left out, and whoever calls must make it alone. When the last one of
        a statement is cancelled, so is the statement, and that is waited for; one that waits yet is not made."""
        done: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, done))
        self._go_on()
        try:
            return await done
        except asyncio.CancelledError:
            self._waiting = [waiting for waiting in self._waiting if waiting[1] is not done]
            for task, callers in list(self._statements.items()):
                if done in callers and all(each.done() for each in callers):
                    await end(task)
            raise

    def _go_on(self) -> None:
        enough = MANY if self._statements else 1
        if len(self._waiting) >= enough and not self._about_to_gather and len(self._statements) < AT_ONCE:
            # It begins when every task that can run now has, and so with all calls of this moment.
            self._about_to_gather = True
            callers: list[asyncio.Future[R | None]] = []
            task = asyncio.create_task(self._gather(callers))
            self._statements[task] = callers
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._statements[task]
        self._go_on()

    async def _gather(self, callers: list[asyncio.Future[R | None]]) -> None:
        self._about_to_gather = False
        calls, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        callers += [done for _, done in calls]
        self._go_on()
        made: Mapping[int, R] = {}
        try:
            # Each call finds out alone whether it is the one that fails, and says so.
            with suppress(Exception):
                made = await self._run([call for call, _ in calls])
        finally:
            for place, (_, done) in enumerate(calls):
                if not done.done():
                    done.set_result(made.get(place))
