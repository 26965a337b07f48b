"""A worker's memory stays where it is, however many pictures it makes."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil
import pytest

import tiny_sdxl
from jobs import Jobs
from postgres import Database
from workers import Site

pytestmark = tiny_sdxl.MARKS

JOBS, WARM = 200, 50
SIDE = 128
# Between the two halves of the measurement lie 80 jobs: to keep the pixels or the file of each takes four times this.
BOUND = 1_000_000

INSERT = """
insert into public.jobs (user_id, job_type, original_prompt, metadata)
select %s, 'sdxl_image_fast', 'a cat',
  jsonb_build_object('num_images', 1, 'steps', 1, 'seed', n, 'resolution', %s::text)
from generate_series(1, %s) as n
"""


@pytest.fixture
def site(db: Database, tmp_path: Path) -> Iterator[Site]:
    site = Site(db.dsn, tmp_path)
    yield site
    site.close()


@pytest.mark.timeout(300)
def test_two_hundred_jobs_leave_the_memory_flat(site: Site, db: Database) -> None:
    """Through the queue, all of a tiny SDXL, the encoders, and the storage."""
    jobs = Jobs(db)
    jobs.run(INSERT, jobs.user, f"{SIDE}x{SIDE}", JOBS)
    # Large blocks go back to the system at once: what is left is what somebody holds.
    worker = site.start(
        "--drain-and-exit",
        engines="sdxl",
        model_sdxl="tiny",
        job_types="",
        OMP_NUM_THREADS="1",
        MALLOC_MMAP_THRESHOLD_="32768",
    )
    process, sizes = psutil.Process(worker.pid), []
    for count in range(WARM, JOBS + 1, 5):
        worker.wait_for("job.completed", count=count, seconds=120)
        sizes.append(process.memory_info().rss)
    assert worker.wait() == 0
    pixels = jobs.value("select sum((metadata->>'width')::int * (metadata->>'height')::int * 3) from images")
    assert pixels == JOBS * SIDE * SIDE * 3
    early, late = sizes[: len(sizes) // 2], sizes[-(len(sizes) // 2) :]
    assert median(late) - median(early) < BOUND, [size // 100_000 / 10 for size in sizes]
