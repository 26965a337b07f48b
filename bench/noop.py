"""A worker with an engine that does nothing: `python bench/noop.py DSN FOLDER [--drain]`.

It prints one line per job: the job's seed and the time.monotonic_ns() at which its engine started.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

import stage
from consumer.claims import Until
from consumer.database import Database
from consumer.engines.base import Engine, OnStep, Options, Output
from consumer.request import Request
from consumer.settings import load_settings
from consumer.storage.local import LocalStorage
from consumer.worker import Worker

PIXELS = np.zeros((64, 64, 3), np.uint8)


class NoopEngine(Engine):
    """Says when it started, and gives a black square."""

    def load(self, model: str) -> None:
        """Nothing to load."""

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:  # noqa: ARG002
        """One black square per index."""
        print(request.seed, time.monotonic_ns(), flush=True)
        for index in indexes:
            yield Output(index=index, seed=request.seed + index, pixels=PIXELS)


async def work(dsn: str, folder: str, drain: bool) -> None:
    """Run until drained or terminated."""
    database = Database(dsn)
    await database.open()
    worker = Worker(
        worker_id=uuid4(),
        database=database,
        listen_dsn=dsn,
        storage=LocalStorage(Path(folder), "bench"),
        engines={"noop": NoopEngine("", Options())},
        job_types={"noop": stage.NOOP},
        settings=load_settings(database_url=dsn),
        until=Until(drain_and_exit=drain),
    )
    worker.handle_signals()
    print("ready", flush=True)
    try:
        await worker.run()
    finally:
        await database.close()


if __name__ == "__main__":
    logging.getLogger("consumer").setLevel(logging.WARNING)
    asyncio.run(work(sys.argv[1], sys.argv[2], "--drain" in sys.argv))
