"""How often a frontend is told how far a job is: at most once a second, however fast the steps are."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise

from consumer.assets import Assets
from consumer.job import Job
from consumer.lease import Lease
from consumer.progress import Progress
from consumer.settings import PHASE_SECONDS
from consumer.watchdog import Watchdog
from jobs import Hands, Jobs

AUDIT = """
create table public.told (at timestamptz, progress integer);
create function public.tell() returns trigger language plpgsql as $$
begin
  insert into public.told values (clock_timestamp(), new.progress);
  return null;
end $$;
create trigger tell after update on public.images for each row execute function public.tell();
"""
AWAY = "drop trigger tell on public.images; drop function public.tell; drop table public.told"


def test_an_engine_that_reports_a_thousand_steps_a_second_is_shown_once_a_second(
    jobs: Jobs, worker: Hands, lease: Lease
) -> None:
    async def work() -> None:
        async with Progress(lease, worker.assets, [0], 1, Watchdog(PHASE_SECONDS)) as progress:
            for step in range(3_000):
                progress.on_step([0], step, 3_000)
                await asyncio.sleep(0.001)

    jobs.run(AUDIT)
    try:
        worker.do(work())
        told = jobs.run("select at, progress from public.told order by at")
    finally:
        jobs.run(AWAY)
    assert len(told) >= 2
    assert all((later["at"] - earlier["at"]).total_seconds() >= 0.99 for earlier, later in pairwise(told))
    assert all(earlier["progress"] < later["progress"] < 100 for earlier, later in pairwise(told))


def test_a_picture_that_does_not_move_is_not_told_again(jobs: Jobs, worker: Hands) -> None:
    class Told(Assets):
        async def progress(self, job: Job, percent: int, steps: Mapping[int, int]) -> None:
            await super().progress(job, percent, steps)
            told.set()

    async def work(lease: Lease) -> None:
        async with Progress(lease, Told(worker.database), [0, 1, 2], 3, Watchdog(PHASE_SECONDS)) as progress:
            for step in range(3):
                progress.on_step([0], step, 3)
                await told.wait()
                told.clear()

    told = asyncio.Event()
    jobs.add(metadata={"num_images": 3})
    lease = Lease(worker.take())
    jobs.run(AUDIT)
    try:
        worker.do(work(lease))
        rows = jobs.run("select progress from public.told order by at")
    finally:
        jobs.run(AWAY)
    # The three rows once, as the work begins; then the one that moves.
    assert [row["progress"] for row in rows] == [0, 0, 0, 33, 66]
