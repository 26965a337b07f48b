"""Ending tasks for certain."""

import asyncio
from typing import Any

AGAIN_SECONDS = 1.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks until they are over.

    Once is not always enough: asyncio.wait_for, with which the pool waits for connections, loses a cancellation in
    Python 3.11 when it comes at the very moment at which the wait is over."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=AGAIN_SECONDS)
