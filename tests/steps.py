"""Steps of two workers that meet: transactions that stay open, and statements that wait for them."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import psycopg

from consumer.errors import LeaseLostError
from consumer.job import Job, Medium
from consumer.statements import query
from jobs import ERROR, Hands, Row, result

T = TypeVar("T")


class Transaction:
    """In the place of `Database`: one connection whose statements stay in one transaction until `commit`."""

    def __init__(self, connection: psycopg.AsyncConnection[Row]) -> None:
        self.connection = connection

    async def run(self, name: str, parameters: Mapping[str, Any], limit: int = 1) -> list[Row]:
        cursor = await self.connection.execute(query(name, limit), parameters)
        return await cursor.fetchall() if cursor.description else []

    surely = run


WRITES = ["record", "progress", "prompt", "complete", "retry", "fail", "release"]


def prepare(hands: Hands, write: str, job: Job) -> None:
    """Record what has to be there before the write is due: all of two images for complete, else the first one."""
    for index in (0, 1) if write == "complete" else (0,):
        hands.record(job, index)


async def late_write(hands: Hands, write: str, job: Job) -> bool:
    """Write as a worker does that does not know yet whether it still holds the job; returns whether it was told so.

    The record is of index 1. Only with `prepare` before it would each write take effect if nothing refused it.
    """
    match write:
        case "record":
            try:
                await hands.assets.record(job, Medium.image, result(job, 1))
            except LeaseLostError:
                return False
            return True
        case "progress":
            await hands.assets.progress(job, 90, {1: 90})
            return False
        case "prompt":
            return await hands.queue.store_prompt(job, "A late harbour", {"result": "rewritten"})
        case "complete":
            return await hands.queue.complete_job(job, 2) != (False, False)
        case "retry":
            return await hands.queue.retry_job(job, 0, ERROR)
        case "fail":
            return await hands.queue.fail_job(job, "Too late.", ERROR)
        case _:
            return await hands.queue.release_job(job.id, job.claim_id)


class Open(Hands):
    """What one worker does in a transaction that stays open, and that another one may have to wait for."""

    database: Transaction

    def start(self, work: Coroutine[Any, Any, T], behind: "Open") -> asyncio.Task[T]:
        """Begin a step, which then waits in the database for a lock that `behind` holds."""
        task = self.runner.get_loop().create_task(work)
        self.do(self._blocked(task, behind))
        return task

    async def _blocked(self, task: asyncio.Task[Any], behind: "Open") -> None:
        waiter, holder = (hands.database.connection.info.backend_pid for hands in (self, behind))
        info = self.database.connection.info
        dsn = psycopg.conninfo.make_conninfo(info.dsn, password=info.password)
        async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(dsn, autocommit=True) as observer:
            while True:
                cursor = await observer.execute("select %s = any (pg_blocking_pids(%s))", (holder, waiter))
                if (await cursor.fetchone()) == (True,):
                    return
                assert not task.done(), "the step did not have to wait"

    def end(self, task: asyncio.Task[T]) -> T:
        """The outcome of a step that waited, committed."""

        async def outcome() -> T:
            return await task

        found = self.do(outcome())
        self.commit()
        return found

    def sql(self, statement: str, *parameters: Any) -> Coroutine[Any, Any, list[tuple[Any, ...]]]:
        """Any statement, as a step."""

        async def step() -> list[Any]:
            cursor = await self.database.connection.execute(statement, parameters)
            return [tuple(row.values()) for row in await cursor.fetchall()] if cursor.description else []

        return step()

    def commit(self) -> None:
        self.do(self.database.connection.commit())

    def rollback(self) -> None:
        self.do(self.database.connection.rollback())
