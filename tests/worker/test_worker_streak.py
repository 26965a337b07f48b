"""Failures in a row: a process that may itself be to blame gives its job back and ends; a bad job still ends failed."""

import pytest

from user_jobs import UserJobs
from workers import Site, Worker, eventually


def test_after_so_many_failures_in_a_row_the_job_is_given_back_and_the_process_ends(site: Site, jobs: UserJobs) -> None:
    bad = [jobs.submit(name, raises="ValueError") for name in ("a", "b", "c")]
    good = jobs.submit("good")
    worker = site.start(max_failures="3")
    assert worker.wait() == 3
    rows = [jobs.get(job) for job in bad]
    assert [(row["status"], row["attempts"], len(row["errors"])) for row in rows] == [
        ("queued", 1, 1), ("queued", 1, 1), ("queued", 0, 0)
    ]  # fmt: skip
    assert rows[2]["queue_at"] is not None, "another process may take it at once"
    assert worker.events("job.release", job_id=bad[2])
    assert worker.events("worker.draining", reason="3 jobs in a row failed here; another process may do better.")
    assert (jobs.get(good)["status"], jobs.get(good)["attempts"]) == ("queued", 0)
    assert site.drawn("good") == []


def test_a_job_that_is_completed_ends_the_row(site: Site, jobs: UserJobs) -> None:
    for name, fields in [("a", {"raises": "ValueError"}), ("b", {}), ("c", {"raises": "OSError"}), ("d", {})]:
        jobs.submit(name, **fields)
    worker = site.start("--drain-and-exit", max_failures="2")
    assert worker.wait() == 0
    assert len(worker.events("job.retry")) == len(worker.events("job.completed")) == 2


@pytest.mark.parametrize("error", ["RejectedError", "StorageUnavailableError", "StorageRefusedError"])
def test_a_failure_that_is_the_requests_or_the_storages_does_not_count(site: Site, jobs: UserJobs, error: str) -> None:
    for name in ("a", "b", "c"):
        jobs.submit(name, raises=error)
    worker = site.start("--drain-and-exit", max_failures="2")
    assert worker.wait() == 0
    assert len(worker.events("job.claimed")) == 3


def test_a_job_that_is_cancelled_neither_counts_nor_ends_the_row(site: Site, jobs: UserJobs) -> None:
    site.endless.touch()
    gate = site.gate("b.0.middle")
    jobs.submit("a", raises="ValueError")
    cancelled = jobs.submit("b", endless=[0])
    last = jobs.submit("c", raises="ValueError")
    worker = site.start(max_failures="2")
    gate.wait()
    gate.release()
    jobs.cancel(cancelled)
    assert worker.wait() == 3
    assert len(worker.events("job.cancelled")) == 1
    assert worker.events("job.release", job_id=last)


def test_nothing_is_decided_while_a_job_in_delivery_may_still_be_completed(site: Site, jobs: UserJobs) -> None:
    gate = site.gate("slow.0.encode")
    slow = jobs.submit("slow")
    bad = [jobs.submit(name, raises="ValueError") for name in ("a", "b", "c")]
    worker = site.start(max_failures="2")
    gate.wait()
    for job in bad:
        worker.wait_for("job.retry", job_id=job)
    gate.release()
    worker.wait_for("job.completed", job_id=slow)
    last = [jobs.submit(name, raises="ValueError") for name in ("d", "e")]
    worker.wait_for("job.retry", job_id=last[0])
    assert worker.wait() == 3
    assert worker.events("job.release", job_id=last[1])


@pytest.mark.parametrize(("most", "claims"), [(1, 3), (2, 5), (3, 4)])
def test_a_job_that_always_fails_ends_failed_after_its_attempts_however_often_its_process_ends(
    site: Site, jobs: UserJobs, most: int, claims: int
) -> None:
    """A process that ends so has burned an attempt for each failure but the last, and for the first in any case."""
    job = jobs.submit("job", raises="ValueError")
    workers: list[Worker] = []
    hurried = 0

    def failed() -> bool:
        nonlocal hurried
        if not workers or workers[-1].process.poll() is not None:
            workers.append(site.start(max_failures=str(most), max_attempts="3"))
        if (retries := sum(len(worker.events("job.retry")) for worker in workers)) > hurried:
            hurried = retries
            jobs.hurry(job)
        return jobs.get(job)["status"] == "failed"

    eventually(failed, "the job has failed", seconds=60)
    row = jobs.get(job)
    assert (row["attempts"], len(row["errors"])) == (3, 3)
    assert row["error_message"] == "An internal error stopped this job."
    # Perhaps not by the last one, which may have been started while that worker was ending.
    eventually(lambda: [event for worker in workers for event in worker.events("job.fail")], "it is told")
    # A claim may be on its way when a process learns that it must end: the job goes back unseen by the engine.
    unseen = sum(
        len(worker.events("job.release", error="DrainingError: The worker is going away.")) for worker in workers
    )
    assert sum(len(worker.events("job.claimed")) for worker in workers) == claims + unseen
    assert {worker.wait() for worker in workers[:-1]} <= {3}
