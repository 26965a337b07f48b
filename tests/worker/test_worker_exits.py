"""When the worker leaves, what it leaves behind, and with which exit code."""

import signal
from uuid import UUID

import pytest

from user_jobs import UserJobs
from workers import Site, Worker

WORKERS = "select count(*) from consumer.workers"
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)


def check_given_back(jobs: UserJobs, job: UUID) -> None:
    """The job stands in line as before the claim, and its pictures with it."""
    row = jobs.get(job)
    assert (row["status"], row["attempts"], row["worker_id"], row["errors"]) == ("queued", 0, None, [])
    assert row["queue_at"] is not None
    assert {image["status"] for image in jobs.images(job)} == {"queued"}


def test_once_without_a_job_ends_with_0(site: Site, jobs: UserJobs) -> None:
    worker = site.start("--once")
    assert worker.wait() == 0
    assert not worker.events("job.claimed")
    assert jobs.value(WORKERS) == 0


@pytest.mark.parametrize(("options", "taken"), [(["--once"], 1), (["--max-jobs", "2"], 2), (["--drain-and-exit"], 3)])
def test_a_worker_takes_as_many_jobs_as_it_was_told_to(
    site: Site, jobs: UserJobs, options: list[str], taken: int
) -> None:
    submitted = [jobs.submit(name) for name in ("a", "b", "c")]
    assert site.start(*options).wait() == 0
    states = [jobs.get(job)["status"] for job in submitted]
    assert states == ["completed"] * taken + ["queued"] * (3 - taken)
    assert [line["job"] for line in site.drawn()] == ["a", "b", "c"][:taken]
    assert jobs.value(WORKERS) == 0


def test_idle_exit_counts_from_the_last_job(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.start"), jobs.submit("job")
    worker = site.start("--idle-exit", "0.5")
    gate.wait()
    jobs.wait_for_beats(3)
    gate.release()
    worker.wait_for("job.completed", job_id=job)
    assert worker.wait() == 0
    assert worker.events("worker.draining", reason="idle for long enough")


@pytest.mark.parametrize("option", ["--max-jobs 0", "--max-jobs many", "--idle-exit -1", "--idle-exit nan"])
def test_a_limit_that_cannot_be_is_refused(site: Site, option: str) -> None:
    worker = site.start(*option.split())
    assert worker.wait() == 2
    assert f"argument {option.split(maxsplit=1)[0]}: must be a " in worker.output


def test_a_worker_leaves_jobs_of_other_engines_alone(site: Site, jobs: UserJobs) -> None:
    other = jobs.submit("other", job_type="sdxl_image_fast")
    job = jobs.submit("job")
    assert site.start("--drain-and-exit", "--engines", "puppet", engines="sketch").wait() == 0
    assert jobs.get(other)["claim_id"] is None
    assert jobs.get(job)["status"] == "completed"


def test_sketch_alone_stands_in_for_every_job_type(site: Site, jobs: UserJobs) -> None:
    small = {"width": 64, "height": 64}
    pictures = [jobs.submit("a tree", job_type=name, **small) for name in ("puppet", "sdxl_image_high", "image_fast")]
    video = jobs.submit("a tree", job_type="video_fast", num_frames=5, **small)
    assert site.start("--drain-and-exit", "--engines", "sketch").wait() == 0
    assert {jobs.get(job)["status"] for job in (*pictures, video)} == {"completed"}
    assert [row["format"] for row in jobs.videos(video)] == ["mp4"]


@SIGNALS
def test_an_idle_worker_leaves_when_told_to(site: Site, jobs: UserJobs, number: int) -> None:
    worker = site.start_idle()
    worker.signal(number)
    assert worker.wait() == 0
    assert jobs.value(WORKERS) == 0


@SIGNALS
def test_a_job_that_fits_in_the_grace_period_is_finished(site: Site, jobs: UserJobs, number: int) -> None:
    gate, job, other = site.gate("job.1.start"), jobs.submit("job", 3), jobs.submit("other")
    worker = site.start()
    gate.wait()
    worker.signal(number)
    worker.wait_for("worker.draining")
    gate.release()
    assert worker.wait() == 0
    assert [jobs.get(each)["status"] for each in (job, other)] == ["completed", "queued"]
    assert jobs.value(WORKERS) == 0


def test_a_job_that_slows_down_is_given_back_as_soon_as_it_does_not_fit(site: Site, jobs: UserJobs) -> None:
    site.endless.touch()
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3, endless=[1])
    worker = site.start(grace_seconds="5")
    gate.wait()
    other = site.start_idle()
    jobs.wait_for_idle()
    gate.release()
    worker.signal(signal.SIGTERM)
    other.wait_for("job.claimed", job_id=job, attempt=1)
    assert worker.wait() == 0
    assert worker.wait_for("job.stopped", job_id=job)["reason"].endswith(" seconds more")
    site.endless.unlink()
    other.wait_for("job.completed", job_id=job)
    assert (jobs.get(job)["attempts"], jobs.get(job)["errors"]) == (1, [])


def hanging(site: Site, jobs: UserJobs) -> tuple[Worker, UUID]:
    """A worker whose engine hangs in a step of a job."""
    gate, job = site.gate("job.0.middle"), jobs.submit("job", 3)
    worker = site.start()
    gate.wait()
    return worker, job


@SIGNALS
def test_a_second_signal_gives_the_job_back_at_once_although_the_engine_hangs(
    site: Site, jobs: UserJobs, number: int
) -> None:
    worker, job = hanging(site, jobs)
    worker.signal(number)
    worker.wait_for("worker.draining")
    worker.signal(number)
    assert worker.wait(5) == 0
    check_given_back(jobs, job)
    assert jobs.value(WORKERS) == 0


def test_a_third_signal_ends_a_worker_that_cannot_give_its_job_back(site: Site, jobs: UserJobs) -> None:
    worker, job = hanging(site, jobs)
    with jobs.locked("select from public.jobs where id = %s for update", job):
        worker.signal(signal.SIGTERM)
        worker.wait_for("worker.draining")
        worker.signal(signal.SIGTERM)
        jobs.blocked("release_job")
        worker.signal(signal.SIGTERM)
        assert worker.wait(5) == 1


def test_a_second_signal_ends_a_worker_whose_encoder_hangs(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.encode"), jobs.submit("job", 2)
    worker = site.start()
    gate.wait()
    worker.wait_for("asset.recorded", job_id=job, index=1)
    worker.signal(signal.SIGTERM)
    worker.wait_for("worker.draining")
    worker.signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    assert (jobs.get(job)["status"], jobs.get(job)["attempts"]) == ("queued", 0)
    assert [image["status"] for image in jobs.images(job)] == ["queued", "completed"]
