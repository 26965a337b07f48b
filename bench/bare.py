"""The least that a queue in Postgres does for a job, to compare with: `python bench/bare.py DSN`.

It listens, takes the oldest queued row of `bare` under SKIP LOCKED, and prints the row's id and the time.monotonic_ns()
at which it had it. There is no order of service, no fence, no lease, no validation and no thread.
"""

import asyncio
import sys
import time

import psycopg

SETUP = "create table bare (id bigint primary key, status text not null default 'queued')"
CLAIM = """
update bare set status = 'processing'
where id = (select id from bare where status = 'queued' order by id limit 1 for update skip locked)
returning id
"""


async def work(dsn: str) -> None:
    """Until terminated."""
    listener = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    await listener.execute("listen bare")
    print("ready", flush=True)
    async for _ in listener.notifies():
        row = await (await connection.execute(CLAIM)).fetchone()
        if row:
            print(row[0], time.monotonic_ns(), flush=True)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
