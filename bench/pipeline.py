"""How much of the time the GPU works: `python bench/pipeline.py [--quick]`.

A whole worker on a real database, with an engine and a storage that only take their time. A job of 1, 2 or 3 pictures
takes the engine's thread for so many seconds, the last tenth of them for the decoding. Each upload, of which there are
two a picture, takes so many milliseconds, and each statement so many more than it does anyway. From the first job's
start in the engine to the last one's end, the engine should have worked for 0.98 of the time.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg

import pictures
import stage
from consumer.claims import Until
from consumer.database import Database
from consumer.engines.base import Engine, OnStep, Options, Output, Phase
from consumer.job import JobType, Medium
from consumer.migrate import push_job_types
from consumer.request import Request
from consumer.settings import load_settings
from consumer.worker import Worker

SIDE = 1024
STEPS = 20
DECODING = 0.1
TIMED = JobType(
    "timed", "timed", Medium.image, count=1, max_count=3,
    defaults={"steps": STEPS, "guidance_scale": 1.0, "width": SIDE, "height": SIDE},
)  # fmt: skip

INSERT = """
insert into public.jobs (user_id, job_type, original_prompt, metadata)
select %s, 'timed', 'x', jsonb_build_object('num_images', 1 + n %% 3) from generate_series(0, %s - 1) as n
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Seconds that a job takes, milliseconds that an upload takes and a statement takes longer, and how many jobs."""

    seconds: float
    upload: int
    statement: int
    jobs: int


class TimedEngine(Engine):
    """Takes `seconds` a job, in steps, and gives ready-made pictures."""

    def __init__(self, seconds: float, side: int) -> None:
        super().__init__("", Options())
        self.seconds = seconds
        self.made = [pictures.picture(side, side, noise=2, seed=seed) for seed in range(3)]
        self.worked = 0.0
        self.started = 0.0
        self.ended = 0.0

    def load(self, model: str) -> None:
        """Nothing to load."""

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        """All pictures of a job in one batch, as the diffusion engines make them."""
        began = time.monotonic()
        self.started = self.started or began
        for done in range(STEPS):
            on_step(indexes, done, STEPS)
            time.sleep(self.seconds * (1 - DECODING) / STEPS)
        on_step(indexes, STEPS, STEPS, Phase.decode)
        time.sleep(self.seconds * DECODING)
        self.ended = time.monotonic()
        self.worked += self.ended - began
        for index in indexes:
            yield Output(index=index, seed=request.seed + index, pixels=self.made[index])


class FarStorage:
    """Keeps nothing; an upload takes `seconds`."""

    bucket = "bench"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.keys: set[str] = set()

    async def check(self) -> None:
        """It is there."""

    async def upload(self, key: str, data: bytes, content_type: str) -> None:
        """Take the time."""
        assert data
        assert content_type.startswith("image/")
        await asyncio.sleep(self.seconds)
        self.keys.add(key)


class FarDatabase(Database):
    """Each statement takes `seconds` more."""

    seconds = 0.0

    async def run(
        self, name: str, parameters: Mapping[str, Any] | Sequence[Any], limit: int = 1
    ) -> list[dict[str, Any]]:
        """As the worker's own, later."""
        await asyncio.sleep(self.seconds)
        return await super().run(name, parameters, limit)


async def work(dsn: str, engine: TimedEngine, storage: FarStorage, far: float) -> float:
    """Drain the queue; returns for how many seconds a full delivery held up the engine."""
    database = FarDatabase(dsn)
    await database.open()
    database.seconds = far
    worker = Worker(
        worker_id=uuid4(),
        database=database,
        listen_dsn=dsn,
        storage=storage,  # type: ignore[arg-type]
        engines={"timed": engine},
        job_types={"timed": TIMED},
        settings=load_settings(database_url=dsn),
        until=Until(drain_and_exit=True),
    )
    try:
        await worker.run()
    finally:
        await database.close()
    return worker.lane.blocked_seconds


def measure(running: stage.embedded.Server, name: str, case: Case, side: int) -> dict[str, Any]:
    """One row of the table."""
    dsn = stage.database(running, name)
    push_job_types(dsn, [TIMED])
    engine, storage = TimedEngine(case.seconds, side), FarStorage(case.upload / 1000)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(INSERT, (stage.user(dsn), case.jobs))
        blocked = asyncio.run(work(dsn, engine, storage, case.statement / 1000))
        row = connection.execute("select count(*) from public.jobs where status = 'completed'").fetchone()
        images = connection.execute("select count(*) from public.images where status = 'completed'").fetchone()
    assert row == (case.jobs,)
    assert images
    assert 2 * images[0] == len(storage.keys)
    wall = engine.ended - engine.started
    return {
        "job s": case.seconds,
        "upload ms": case.upload,
        "statement ms": f"+{case.statement}",
        "jobs": case.jobs,
        "pictures": images[0],
        "wall s": round(wall, 2),
        "engine works": f"{engine.worked / wall:.3f}",
        "between jobs ms": round(1000 * (wall - engine.worked) / max(1, case.jobs - 1), 1),
        "blocked s": round(blocked, 2),
    }


def main() -> None:
    """Every latency of the storage, and of the database, with short jobs and longer ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one small case, to see that it runs")
    parser.add_argument("--jobs", type=int, default=40, help="short jobs in each case (default: %(default)s)")
    options = parser.parse_args()
    logging.getLogger("consumer").setLevel(logging.WARNING)
    if options.quick:
        cases, side = [Case(0.05, 50, 0, 4)], 64
    else:
        short = [Case(0.5, upload, far, options.jobs) for far in (0, 20) for upload in (50, 150, 500)]
        long = [Case(2.0, upload, far, options.jobs // 4) for far, upload in ((0, 50), (0, 500), (20, 500))]
        cases, side = short + long, SIDE
    with stage.server() as running:
        rows = [measure(running, f"pipeline_{number}", case, side) for number, case in enumerate(cases)]
    stage.table(rows)


if __name__ == "__main__":
    main()
