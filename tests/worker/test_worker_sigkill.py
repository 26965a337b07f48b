"""A worker dies at some point of a job's life, and another one finishes the job."""

from pathlib import Path
from uuid import UUID

import pytest

from user_jobs import UserJobs
from workers import Site, Worker, check_picture, eventually

COUNT = 3


def check_finished(
    site: Site, jobs: UserJobs, job: UUID, *, second: Worker, drew: list[int], attempts: int = 2
) -> None:
    """Nothing is lost, and the second worker drew only `drew`."""
    row = jobs.get(job)
    assert (row["status"], row["attempts"]) == ("completed", attempts)
    assert [error["type"] for error in row["errors"]] == ["WorkerLost"] * (attempts - 1)
    images = jobs.images(job)
    assert [image["seed"] for image in images] == [1000, 1001, 1002]
    for image in images:
        check_picture(site, image)
    drawn = [(line["index"], line["seed"]) for line in site.drawn() if line["pid"] == second.pid]
    assert drawn == [(index, 1000 + index) for index in drew]


def let_another_finish(site: Site, jobs: UserJobs, job: UUID, drew: list[int]) -> None:
    second = site.start("--max-jobs", "1")
    assert second.wait() == 0
    second.wait_for("job.rescued", job_id=job, status="queued")
    check_finished(site, jobs, job, second=second, drew=drew)


def stamps(site: Site, jobs: UserJobs, job: UUID) -> dict[Path, tuple[int, int]]:
    """Which file each recorded picture is, and when it was written."""
    paths = [site.file(image["image_url"]) for image in jobs.images(job) if image["status"] == "completed"]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize(
    ("point", "recorded"),
    [
        pytest.param("load", [], id="while it loads the model"),
        pytest.param("job.0.start", [], id="before the first picture"),
        pytest.param("job.0.middle", [], id="in a step of the first picture"),
        pytest.param("job.1.start", [0], id="between two pictures"),
        pytest.param("job.0.encode", [1, 2], id="while it encodes the first picture"),
        pytest.param("job.2.start", [0, 1], id="after it recorded two pictures"),
        pytest.param("job.end", [0, 1, 2], id="after it recorded all pictures"),
    ],
)
def test_a_job_is_finished_by_another_worker_when_one_dies(
    site: Site, jobs: UserJobs, point: str, recorded: list[int]
) -> None:
    gate, job = site.gate(point), jobs.submit("job", COUNT)
    first = site.start()
    gate.wait()
    for index in recorded:
        first.wait_for("asset.recorded", job_id=job, index=index)
    first.kill()
    before = stamps(site, jobs, job)
    assert len(before) == len(recorded)
    let_another_finish(site, jobs, job, [index for index in range(COUNT) if index not in recorded])
    assert before.items() <= stamps(site, jobs, job).items()


def test_a_job_is_finished_when_its_claim_was_made_for_a_worker_that_died(site: Site, jobs: UserJobs) -> None:
    first = site.start_idle()
    jobs.wait_for_idle()
    with jobs.locked("select from consumer.workers for update"):
        job = jobs.submit("job", COUNT)
        jobs.blocked("claim_jobs")
        first.kill()
    jobs.wait_until(job, "processing")
    assert not first.events("job.claimed")
    let_another_finish(site, jobs, job, [0, 1, 2])


def test_a_job_is_finished_when_its_worker_died_right_after_the_claim(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job", COUNT)
    own = jobs.insert("images", {"user_id": jobs.user, "job_id": job, "status": "queued"})
    with jobs.locked("select from public.images where id = %s for update", own):
        first = site.start()
        jobs.blocked("prepare_images")
        first.kill()
    let_another_finish(site, jobs, job, [0, 1, 2])
    assert jobs.images(job)[0]["id"] == own


def test_a_job_is_finished_when_its_worker_died_during_an_upload(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.1.start"), jobs.submit("job", COUNT)
    in_the_way = site.file(f"{jobs.user}/{job}/0.png")
    in_the_way.mkdir(parents=True)
    before = in_the_way.parent.stat().st_mtime_ns
    first = site.start()
    gate.wait()
    eventually(lambda: in_the_way.parent.stat().st_mtime_ns != before, "an upload began")
    first.kill()
    in_the_way.rmdir()
    let_another_finish(site, jobs, job, [0, 1, 2])


@pytest.mark.parametrize("arrived", [False, True], ids=["before it could record it", "while it was being recorded"])
def test_a_job_is_finished_when_its_worker_died_after_the_upload(site: Site, jobs: UserJobs, arrived: bool) -> None:
    gate, job = site.gate("job.0.start"), jobs.submit("job", 1)
    first = site.start()
    gate.wait()
    with jobs.locked("select from public.jobs where id = %s for update", job):
        gate.release()
        backend = jobs.blocked("record_image")
        assert site.file(f"{jobs.user}/{job}/0.png").exists()
        first.kill()
        if not arrived:
            jobs.terminate(backend)
    if arrived:
        eventually(lambda: jobs.images(job)[0]["status"] == "completed", "the statement is done without its sender")
    assert not first.events("asset.recorded")
    second = site.start("--max-jobs", "1")
    assert second.wait() == 0
    check_picture(site, jobs.images(job)[0])
    assert [line["pid"] for line in site.drawn()] == [first.pid] + ([] if arrived else [second.pid])
    assert jobs.get(job)["attempts"] == 2


def test_a_job_is_finished_when_its_worker_died_before_completing_it(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.end"), jobs.submit("job", COUNT)
    first = site.start()
    gate.wait()
    # The last picture would complete the job if it came later.
    first.wait_for("asset.recorded", COUNT)
    with jobs.locked("select from public.jobs where id = %s for key share", job):
        gate.release()
        backend = jobs.blocked("complete_job")
        first.kill()
        jobs.terminate(backend)
    assert jobs.get(job)["status"] == "processing"
    let_another_finish(site, jobs, job, [])


def test_a_job_completed_for_a_worker_that_died_stays_as_it_is(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.end"), jobs.submit("job", COUNT)
    first = site.start()
    gate.wait()
    # The last picture would complete the job if it came later.
    first.wait_for("asset.recorded", COUNT)
    with jobs.locked("select from public.jobs where id = %s for key share", job):
        gate.release()
        jobs.blocked("complete_job")
        first.kill()
    jobs.wait_until(job, "completed")
    assert not first.events("job.completed")
    check_untouched_by_another(site, jobs, job)


def test_a_job_whose_worker_died_after_completing_it_stays_as_it_is(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job", COUNT)
    first = site.start()
    first.wait_for("job.completed", job_id=job)
    first.kill()
    check_untouched_by_another(site, jobs, job)


def check_untouched_by_another(site: Site, jobs: UserJobs, job: UUID) -> None:
    before = jobs.rows(job), stamps(site, jobs, job)
    second = site.start_idle()
    dead = "select id from consumer.workers where name like %s"
    first = site.workers[0]
    eventually(lambda: not jobs.run(dead, f"%:{first.pid}"), "the dead worker was noticed")
    assert not second.events("job.claimed")
    assert not second.events("job.rescued")
    assert (jobs.rows(job), stamps(site, jobs, job)) == before
    check_finished(site, jobs, job, second=second, drew=[], attempts=1)
