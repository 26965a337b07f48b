"""Ours: `setup DSN JOBS` or `work DSN SETTINGS` (batch, every).

Where jobs are only counted (`every`), this is what a worker does to the database for each job, and nothing else: claim,
record the asset's row under the fence, complete with the assets in the metadata, beat beside it. It leaves out parsing,
the engine, encoding and upload. Without `every` it is a whole worker, with an engine that does as the prompt says.
"""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import psycopg
from told import Handler, say, settings

sys.path.insert(0, str(Path(__file__).parents[1]))

import stage
from consumer.assets import Assets, Result
from consumer.claims import Until
from consumer.database import Database
from consumer.engines.base import Engine, OnStep, Options, Output
from consumer.heartbeat import Heartbeat
from consumer.job import Job, Medium
from consumer.lease import Leases, Trust
from consumer.queue import Queue
from consumer.request import Request
from consumer.rescue import Rescuer
from consumer.settings import load_settings
from consumer.storage.local import LocalStorage
from consumer.worker import Worker

CONNECTIONS = 10
BATCHES = 2
"""At once: while one is written, the next one is claimed."""

SETUP = """
with senders as (select array(select id from auth.users order by id) as ids)
insert into public.jobs (user_id, job_type, original_prompt)
select ids[1 + n %% cardinality(ids)], 'noop', 'x' from senders, generate_series(1, %s) as n
"""

MEASURED = {
    "width": 64, "height": 64, "format": "png", "batch_size": 1, "steps": 1, "guidance_scale": 1.0, "seed": 1,
    "file_size_bytes": 1, "mime_type": "image/png", "asset_index": 0,
}  # fmt: skip


def setup(dsn: str, jobs: int) -> None:
    """Queue jobs of a hundred users."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into auth.users (id) select gen_random_uuid() from generate_series(1, 100)")
        for first in range(0, jobs, 10_000):
            connection.execute(SETUP, (min(10_000, jobs - first),))


class Counted:
    """A worker without a GPU and a storage."""

    def __init__(self, database: Database, batch: int, every: int) -> None:
        self.queue = Queue(database, uuid4())
        self.assets = Assets(database)
        lease = load_settings().lease_seconds
        self.leases = Leases(self.queue, "bench", ("noop",), lease, Trust(lease, lease / 2))
        self.handler = Handler(every)
        self.batch = batch

    async def run(self) -> None:
        """Work until killed."""
        await self.leases.beat()
        beats = asyncio.create_task(Heartbeat(self.leases, Rescuer(self.queue, self.leases.lease_seconds)).keep())
        say("ready")
        # Two batches, so that this process works on one while the server works on the other.
        await asyncio.gather(beats, *(self.claims() for _ in range(CONNECTIONS if self.batch == 1 else BATCHES)))

    async def claims(self) -> None:
        """Claim, and finish what was claimed, until nothing is left; then look again now and then."""
        while True:
            jobs = await self.queue.claim_jobs(["noop"], self.batch)
            if jobs:
                await asyncio.gather(*(self.job(job) for job in jobs))
            else:
                await asyncio.sleep(0.5)

    async def job(self, job: Job) -> None:
        """One job's story."""
        lease = self.leases.add(job)
        self.handler.counted()
        key = f"{job.user_id}/{job.id}/0"
        result = Result(0, job.metadata["seed"], f"{key}.png", f"{key}.thumb.webp", "png", 1, MEASURED)
        _, completed = await self.assets.record(job, Medium.image, result, 1)
        assert completed or await self.queue.complete_job(job, 1) == (True, True)
        self.leases.remove(lease)


class Told(Engine):
    """Does as the prompt says, in the lane's thread."""

    def __init__(self) -> None:
        super().__init__("", Options())
        self.handler = Handler(None)

    def load(self, model: str) -> None:
        """Nothing to load."""

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:  # noqa: ARG002
        """Wait, block or be busy; then a black square per index."""
        self.handler.handle_in_thread(request.prompt)
        for index in indexes:
            yield Output(index=index, seed=request.seed + index, pixels=np.zeros((64, 64, 3), np.uint8))


async def work(dsn: str, batch: int = 1, every: int | None = None) -> None:
    """As the settings say, until killed."""
    database = Database(dsn, CONNECTIONS if every else 4)
    await database.open()
    if every:
        await Counted(database, batch, every).run()
        return
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(
            worker_id=uuid4(),
            database=database,
            listen_dsn=dsn,
            storage=LocalStorage(Path(folder), "bench"),
            engines={"noop": Told()},
            job_types={"noop": stage.NOOP},
            settings=load_settings(database_url=dsn),
            until=Until(),
        )
        say("ready")
        await worker.run()


if __name__ == "__main__":
    logging.getLogger("consumer").setLevel(logging.WARNING)
    verb, dsn, rest = settings()
    if verb == "setup":
        setup(dsn, **rest)
    else:
        asyncio.run(work(dsn, **rest))
