"""A user cancels a job: in line, in the middle, or while its pictures are being stored."""

from uuid import UUID

import pytest

from user_jobs import UserJobs
from workers import Site, Worker, check_picture, eventually

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


def statuses(jobs: UserJobs, job: UUID) -> list[str]:
    return [jobs.get(job)["status"], *(image["status"] for image in jobs.images(job))]


def check_unharmed(site: Site, jobs: UserJobs, worker: Worker) -> None:
    """The next job runs in the same process, and runs as it should."""
    job = jobs.submit("next")
    worker.wait_for("job.completed", job_id=job, attempt=1)
    check_picture(site, jobs.images(job)[0])
    assert [line["pid"] for line in site.drawn("next")] == [worker.pid]


def test_a_job_cancelled_while_queued_is_never_claimed(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job", 3)
    assert jobs.cancel(job) == "cancelled"
    worker = site.start("--drain-and-exit")
    assert worker.wait() == 0
    assert not worker.events("job.claimed")
    assert statuses(jobs, job) == ["cancelled"] * 4


@pytest.mark.parametrize("heard", [True, False], ids=["by a notification", "by the heartbeat"])
def test_a_job_cancelled_in_the_middle_stops_at_the_next_step(site: Site, jobs: UserJobs, heard: bool) -> None:
    worker = site.start(**({} if heard else {"listen_url": NOWHERE, "sweep_seconds": "0.5"}))
    site.endless.touch()
    gate = site.gate("job.1.start")
    job = jobs.submit("job", 3, endless=[1])
    gate.wait()
    worker.wait_for("asset.recorded", job_id=job, index=0)
    gate.release()
    assert jobs.cancel(job) == "cancelled"
    worker.wait_for("job.cancelled", job_id=job)
    assert statuses(jobs, job) == ["cancelled", "completed", "cancelled", "cancelled"]
    check_picture(site, jobs.images(job)[0])
    assert [line["index"] for line in site.drawn("job")] == [0]
    before = jobs.rows(job)
    check_unharmed(site, jobs, worker)
    assert jobs.rows(job) == before


def test_a_job_cancelled_while_its_upload_is_tried_again_stores_nothing_more(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.start"), jobs.submit("job")
    in_the_way = site.file(f"{jobs.user}/{job}/0.png")
    in_the_way.mkdir(parents=True)
    before = in_the_way.parent.stat().st_mtime_ns
    worker = site.start()
    gate.wait()
    gate.release()
    eventually(lambda: in_the_way.parent.stat().st_mtime_ns != before, "an upload was tried")
    assert jobs.cancel(job) == "cancelled"
    worker.wait_for("job.cancelled", job_id=job)
    assert statuses(jobs, job) == ["cancelled", "cancelled"]
    check_unharmed(site, jobs, worker)
    assert list(in_the_way.parent.iterdir()) == [in_the_way]


def test_a_job_cancelled_while_its_engine_fails_is_not_tried_again(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.middle"), jobs.submit("job", raises="ValueError")
    # Nothing tells the worker, unless a heartbeat comes first.
    worker = site.start(listen_url=NOWHERE, sweep_seconds="0.5")
    gate.wait()
    assert jobs.cancel(job) == "cancelled"
    gate.release()
    eventually(lambda: worker.events("job.lost") or worker.events("job.cancelled"), "the worker lets go")
    assert not worker.events("job.retry")
    assert (jobs.get(job)["status"], jobs.get(job)["errors"]) == ("cancelled", [])
    check_unharmed(site, jobs, worker)


def test_a_job_whose_row_was_deleted_in_the_middle_is_given_up(site: Site, jobs: UserJobs) -> None:
    site.endless.touch()
    gate, job = site.gate("job.0.start"), jobs.submit("job", endless=[0])
    worker = site.start()
    gate.wait()
    gate.release()
    jobs.run("delete from public.jobs where id = %s", job)
    worker.wait_for("job.lost", job_id=job)
    check_unharmed(site, jobs, worker)
