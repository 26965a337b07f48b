"""The lane to the GPU: one thread, one job at a time, and behind it one that gets ready meanwhile."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from consumer.watchdog import Watchdog

T = TypeVar("T")

_END = object()


class Turn:
    """One job's way: next in line, on the lane, and off it. Each step is harmless when repeated."""

    def __init__(self, lane: "Lane", is_next: bool) -> None:
        self._lane = lane
        self._next = is_next
        self._begun = False
        if not is_next:
            lane._later.add(self)

    async def begin(self) -> None:
        """Wait until no other job is on the lane."""
        if not self._begun:
            await self._lane._lock.acquire()
            self._begun = True
            self._lane._comes(self)

    @property
    def begun(self) -> bool:
        """Whether this job is on the lane."""
        return self._begun

    async def begin_last(self) -> None:
        """Wait until no other job is on the lane, nor comes onto it before this one."""
        while self._lane._later:
            await self._lane._came.wait()
        await self.begin()

    def end_soon(self) -> None:
        """Let the next job get ready behind this one."""
        if self._next:
            self._lane._line.release()
            self._next = False

    def release(self) -> None:
        """Let the next job onto the lane."""
        self.end_soon()
        self._lane._comes(self)
        if self._begun:
            self._lane._lock.release()
            self._begun = False


class Lane:
    """Runs an engine's synchronous code in one thread, and counts for how long it ran and how long it waited.

    Once `ending` is set, a job that has not begun does not begin."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.watchdog = watchdog
        self.ending = False
        self._line = asyncio.Lock()
        self._lock = asyncio.Lock()
        self._later: set[Turn] = set()
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")
        self.running = 0
        self.busy_seconds = 0.0
        self.blocked_seconds = 0.0

    async def turn(self) -> Turn:
        """Be next in line: wait until the job on the lane is about to end."""
        await self._line.acquire()
        return Turn(self, True)

    def later(self) -> Turn:
        """Come after all who are in line now; for a job that was claimed together with the next one."""
        return Turn(self, False)

    def _comes(self, turn: Turn) -> None:
        # Wakes who waits for this, and makes the others wait for the next one.
        self._later.discard(turn)
        self._came.set()
        self._came.clear()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the lane's thread. Raises EngineHungError, and leaves the thread alone, when it hangs."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._timed, work)
        return await self.watchdog.watch(running)

    def _timed(self, work: Callable[[], T]) -> T:
        started = time.monotonic()
        self.running += 1
        try:
            return work()
        except StopIteration as error:
            # It cannot pass a future: whoever awaits one that is given it waits for ever.
            raise RuntimeError("A StopIteration was not caught.") from error
        finally:
            self.running -= 1
            self.busy_seconds += time.monotonic() - started

    async def iterate(self, items: Generator[T, None, None]) -> AsyncGenerator[T, None]:
        """The items, all made in the lane's thread; closed there when the consumer stops."""
        try:
            while (item := await self.run(lambda: next(items, _END))) is not _END:
                yielded = time.monotonic()
                yield item  # type: ignore[misc]
                self.blocked_seconds += time.monotonic() - yielded
        finally:
            self._thread.submit(items.close)

    def close(self) -> None:
        """Take no more work; what runs is left to end by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
