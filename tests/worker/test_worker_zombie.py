"""A worker that stood still for longer than its lease, and wakes up when its job is long done by another one."""

import signal
from uuid import UUID

import pytest

from user_jobs import UserJobs
from workers import Site, check_picture


def files(site: Site, jobs: UserJobs, job: UUID) -> list[tuple[str, int, int]]:
    """The files in the job's folder: which ones they are, and when each was written."""
    folder = site.file(f"{jobs.user}/{job}")
    return sorted((path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir())


def rescue(site: Site, job: UUID) -> None:
    """Let another worker take the job and finish it."""
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
    zombie.signal(signal.SIGSTOP)
    rescue(site, job)
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


def test_a_zombie_that_waited_to_be_trusted_again_uploads_nothing(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.encode"), jobs.submit("job", 3)
    zombie = site.start()
    gate.wait()
    zombie.wait_for("asset.recorded", job_id=job, index=2)
    with jobs.locked("select from consumer.workers for update"):
        # Two misses are longer than it may trust a heartbeat; after a third its upload waits for the next one.
        zombie.wait_for("heartbeat.missed", count=2)
        gate.release()
        zombie.wait_for("heartbeat.missed", count=3)
        zombie.signal(signal.SIGSTOP)
    rescue(site, job)
    before = jobs.rows(job), files(site, jobs, job)
    zombie.signal(signal.SIGCONT)
    zombie.wait_for("job.lost", job_id=job)
    zombie.signal(signal.SIGTERM)
    assert zombie.wait() == 0
    assert (jobs.rows(job), files(site, jobs, job)) == before
