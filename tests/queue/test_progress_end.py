"""The reports of a job end with its work, whatever they were doing."""

import asyncio

import pytest

from consumer.assets import Assets
from consumer.database import Database as Pool
from consumer.lease import Lease
from consumer.progress import Progress
from consumer.settings import PHASE_SECONDS
from consumer.watchdog import Watchdog
from postgres import Database


@pytest.mark.parametrize("turns", range(4))
def test_reports_end_although_they_get_their_connection_at_that_very_moment(
    db: Database, runner: asyncio.Runner, lease: Lease, turns: int
) -> None:
    """A cancellation is lost, in Python 3.11, in one of these turns of the event loop."""

    async def work(database: Pool) -> None:
        async with Progress(lease, Assets(database), [0], 1, Watchdog(PHASE_SECONDS)) as progress:
            async with database.pool.connection():
                progress.on_step([0], 1, 2)
                while not database.pool.get_stats().get("requests_waiting"):
                    await asyncio.sleep(0.01)
            for _ in range(turns):
                await asyncio.sleep(0)

    async def run() -> set[asyncio.Task[None]]:
        database = Pool(db.dsn, size=1)
        await database.open()
        task = asyncio.create_task(work(database))
        done, _ = await asyncio.wait({task}, timeout=5)
        task.cancel()
        await database.close()
        return done

    [task] = runner.run(run())
    task.result()
