"""A worker that stood still for longer than its lease, and wakes up when its job is long done by another one."""

import signal
from uuid import UUID

import pytest

from user_jobs import UserJobs
from workers import Site, Worker, check_picture


def files(site: Site, jobs: UserJobs, job: UUID) -> list[tuple[str, int, int]]:
    """The files in the job's folder: which ones they are, and when each was written."""
    folder = site.file(f"{jobs.user}/{job}")
    return sorted((path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir())


def rescued_while_stopped(site: Site, jobs: UserJobs, job: UUID, zombie: Worker) -> None:
    """Stop the worker for so long that another one takes its job and finishes it."""
    zombie.signal(signal.SIGSTOP)
    other = site.start("--max-jobs", "1")
    assert other.wait() == 0
    other.wait_for("job.completed", job_id=job, attempt=2)


@pytest.mark.parametrize(
    "point", ["job.1.middle", "job.0.encode", "job.end"], ids=["drawing", "encoding", "about to complete"]
)
def test_a_zombie_writes_nothing_and_goes_on_working(site: Site, jobs: UserJobs, point: str) -> None:
    gate, job = site.gate(point), jobs.submit("job", 3)
    zombie = site.start()
    gate.wait()
    rescued_while_stopped(site, jobs, job, zombie)
    before = jobs.rows(job), files(site, jobs, job)
    gate.release()
    zombie.signal(signal.SIGCONT)
    zombie.wait_for("job.lost", job_id=job)
    assert not zombie.events("job.completed")

    after = jobs.submit("after")
    zombie.wait_for("job.completed", job_id=after, attempt=1)
    assert (jobs.rows(job), files(site, jobs, job)) == before
    for image in jobs.images(job):
        check_picture(site, image)
    assert [line["pid"] for line in site.drawn("after")] == [zombie.pid]
