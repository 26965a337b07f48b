"""PgQueuer: `setup DSN JOBS` or `work DSN SETTINGS` (driver, batch, thread, every)."""

import asyncio
import logging

import asyncpg
import psycopg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from told import Handler, say, settings


async def setup(dsn: str, jobs: int) -> None:
    connection = await asyncpg.connect(dsn)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    for first in range(0, jobs, 5_000):
        count = min(5_000, jobs - first)
        await queries.enqueue(["noop"] * count, [b"{}"] * count, [0] * count)
    await connection.close()


async def work(dsn: str, driver: str, batch: int = 10, thread: bool = False, every: int | None = None) -> None:
    if driver == "asyncpg":
        queuer = PgQueuer.from_asyncpg_connection(await asyncpg.connect(dsn))
    else:
        queuer = PgQueuer.from_psycopg_connection(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
    handler = Handler(every)

    @queuer.entrypoint("noop")
    async def noop(job: Job) -> None:
        if thread:
            await asyncio.to_thread(handler.handle_in_thread, job.payload)
        else:
            await handler.handle(job.payload)

    say("ready")
    await queuer.run(batch_size=batch)


if __name__ == "__main__":
    logging.getLogger("pgqueuer").setLevel(logging.WARNING)
    verb, dsn, rest = settings()
    # As its own command line does.
    uvloop.run(setup(dsn, **rest) if verb == "setup" else work(dsn, **rest))
