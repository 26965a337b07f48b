"""NOTIFY is a hint, the sweep is the promise: what is heard here only makes things faster.

LISTEN has a connection of its own, in autocommit, because a connection inside `notifies()` answers no query.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import psycopg

from consumer import events
from consumer.database import AWAY, conninfo

JOBS = "consumer_jobs"
CANCEL = "consumer_cancel"


async def hints(dsn: str) -> AsyncIterator[UUID | None]:
    """The id of a job that was cancelled, or None: there may be work.

    Reconnects for ever, with jitter, and yields None after each connect for whatever was missed meanwhile.
    """
    failures = 0
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(conninfo(dsn), autocommit=True) as connection:
                await connection.execute(f"listen {JOBS}")
                await connection.execute(f"listen {CANCEL}")
                events.emit("listener.connected")
                failures = 0
                yield None
                async for notification in connection.notifies():
                    yield _cancelled(notification)
        except AWAY:
            failures += 1
            delay = random.uniform(0.5, 1.0) * min(30.0, 0.2 * 2**failures)  # noqa: S311 jitter is no secret
            events.emit("listener.lost", retry_in=round(delay, 1))
            await asyncio.sleep(delay)


def _cancelled(notification: psycopg.Notify) -> UUID | None:
    if notification.channel != CANCEL:
        return None
    try:
        return UUID(notification.payload)
    except ValueError:
        return None
