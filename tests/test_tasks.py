"""A task that is ended is over, even one that loses a cancellation on the way."""

import asyncio
from contextlib import suppress

from consumer.tasks import end


def test_a_task_that_swallows_a_cancellation_is_over_all_the_same() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def run() -> None:
        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(60))]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await end(*tasks)
        assert all(task.cancelled() for task in tasks)

    asyncio.run(run())


def test_a_task_that_is_over_already_keeps_its_end() -> None:
    async def run() -> None:
        task = asyncio.create_task(asyncio.sleep(0, "well"))
        assert await task == "well"
        await end(task)
        assert task.result() == "well"

    asyncio.run(run())


def test_whoever_ends_a_task_can_be_cancelled_meanwhile() -> None:
    async def run() -> None:
        never = asyncio.Event()

        async def immortal() -> None:
            while not never.is_set():
                with suppress(asyncio.CancelledError):
                    await never.wait()

        task = asyncio.create_task(immortal())
        await asyncio.sleep(0)
        ending = asyncio.create_task(end(task))
        await asyncio.sleep(0)
        ending.cancel()
        done, _ = await asyncio.wait({ending}, timeout=30)
        assert done == {ending}
        assert ending.cancelled()
        never.set()
        await task

    asyncio.run(run())
