"""What becomes of a job when something goes wrong, and what is told of it."""

import json
from datetime import datetime
from uuid import UUID

import pytest

from jobs import Row
from user_jobs import UserJobs
from workers import Site, Worker, check_picture

SECRET = "two owls that nobody may hear of"
INTERNAL = "An internal error stopped this job."


def check_discreet(worker: Worker, jobs: UserJobs, job: UUID) -> None:
    """No line of the log and no field of a row repeats the prompt, but for those that hold it."""
    assert SECRET not in worker.output
    rows = [{**row, "original_prompt": "", "prompt": ""} for row in (jobs.get(job), *jobs.images(job))]
    assert SECRET not in json.dumps(rows, default=str)


def run_all_attempts(site: Site, jobs: UserJobs, job: UUID, attempts: int) -> Worker:
    """Let every attempt but the last one be followed by the next at once; returns the worker."""
    worker = site.start()
    for attempt in range(1, attempts):
        worker.wait_for("job.retry", job_id=job, attempt=attempt)
        jobs.hurry(job)
    worker.wait_for("job.fail", job_id=job, attempt=attempts)
    return worker


def test_a_request_that_cannot_be_fails_at_once_with_a_sentence(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit(SECRET, 2, steps=1000)
    worker = site.start("--once")
    assert worker.wait() == 0
    row = jobs.get(job)
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["error_message"] == "steps must be a whole number from 1 to 100."
    assert {(image["status"], image["error_message"]) for image in jobs.images(job)} == {
        ("failed", "steps must be a whole number from 1 to 100.")
    }
    assert not site.drawn()
    check_discreet(worker, jobs, job)


def test_what_an_engine_rejects_fails_at_once(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit(SECRET, raises="RejectedError")
    worker = site.start("--once")
    assert worker.wait() == 0
    row = jobs.get(job)
    assert (row["status"], row["attempts"], row["error_message"]) == ("failed", 1, "The puppet cannot do that.")
    check_discreet(worker, jobs, job)


def test_a_foreign_exception_is_tried_again_and_told_to_nobody(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit(SECRET, 2, raises="ValueError")
    worker = run_all_attempts(site, jobs, job, 3)
    row = jobs.get(job)
    assert (row["status"], row["attempts"], row["error_message"]) == ("failed", 3, INTERNAL)
    assert {(image["status"], image["error_message"]) for image in jobs.images(job)} == {("failed", INTERNAL)}
    assert [error["attempt"] for error in row["errors"]] == [1, 2, 3]
    assert {error["worker"] for error in row["errors"]} == {str(worker.id)}
    for error in row["errors"]:
        assert (error["type"], error["message"]) == ("ValueError", INTERNAL)
        check_traceback(error["traceback"])
        assert datetime.fromisoformat(error["at"]).tzinfo
    check_discreet(worker, jobs, job)


def check_traceback(text: str) -> None:
    """Where it happened comes last; the paths of the machine are nobody's business."""
    assert 0 < len(text) <= 1000
    assert text.splitlines()[-1].endswith(" in fail_as")
    assert "/" not in text


def test_the_number_of_attempts_is_a_setting(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job", raises="ValueError")
    worker = site.start("--once", max_attempts="1")
    assert worker.wait() == 0
    assert (jobs.get(job)["status"], jobs.get(job)["attempts"]) == ("failed", 1)


def test_a_picture_that_was_not_made_is_asked_for_again_and_the_others_stay(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job", 3, skips=[1])
    run_all_attempts(site, jobs, job, 3)
    row = jobs.get(job)
    assert (row["status"], row["error_message"]) == ("failed", "The engine did not make every picture of this job.")
    assert {error["type"] for error in row["errors"]} == {"IncompleteError"}
    images = jobs.images(job)
    assert [image["status"] for image in images] == ["completed", "failed", "completed"]
    check_picture(site, images[0])
    check_picture(site, images[2])
    assert [line["index"] for line in site.drawn()] == [0, 2]


def test_an_engine_that_is_unusable_gives_its_job_back_and_ends_the_worker(site: Site, jobs: UserJobs) -> None:
    waiting = [jobs.submit(name) for name in ("a", "b", "c")]
    worker = site.start(PUPPET_LOAD_RAISES="EngineUnusableError")
    assert worker.wait() == 3
    rows: list[Row] = [jobs.get(job) for job in waiting]
    assert [(row["status"], row["attempts"]) for row in rows] == [("queued", 0)] * 3
    assert [row["claim_id"] is not None for row in rows] == [True, False, False], "only one met the engine"
    assert worker.events("worker.draining", reason="The puppet cannot do that.")
    assert rows[0]["available_at"] is not None, "others go first, for it may be the job that breaks the engine"
    [told] = rows[0]["errors"]
    assert (told["type"], told["message"], told["given_back"]) == (
        "EngineUnusableError", "The puppet cannot do that.", True
    )  # fmt: skip
    jobs.hurry(waiting[0])
    assert site.start("--drain-and-exit").wait() == 0
    assert {(jobs.get(job)["status"], jobs.get(job)["attempts"]) for job in waiting} == {("completed", 1)}


def test_an_engine_that_breaks_in_the_middle_gives_its_job_back_with_what_is_done(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job", 2, raises="EngineUnusableError")
    worker = site.start()
    assert worker.wait() == 3
    assert (jobs.get(job)["status"], jobs.get(job)["attempts"]) == ("queued", 0)


def test_a_job_that_breaks_the_engine_each_time_ends_failed_and_holds_up_nobody(site: Site, jobs: UserJobs) -> None:
    bad = jobs.submit("bad", raises="EngineUnusableError")
    good = jobs.submit("good")
    assert site.start("--drain-and-exit", max_attempts="2").wait() == 3
    assert site.start("--drain-and-exit", max_attempts="2").wait() == 0
    assert jobs.get(good)["status"] == "completed"
    for _ in range(3):
        jobs.hurry(bad)
        assert site.start("--drain-and-exit", max_attempts="2").wait() == 3
    row = jobs.get(bad)
    assert [error.get("given_back", False) for error in row["errors"]] == [True, True, False, False]
    assert (row["status"], row["attempts"], row["error_message"]) == ("failed", 2, "The puppet cannot do that.")


@pytest.mark.parametrize("errors", ["{}", "3", '[3, [1], {"given_back": 1}]', "null"])
def test_whatever_somebody_wrote_into_errors_the_job_is_claimed(site: Site, jobs: UserJobs, errors: str) -> None:
    job = jobs.submit("job")
    jobs.run("update public.jobs set errors = %s::jsonb where id = %s", errors, job)
    assert site.start("--drain-and-exit").wait() == 0
    assert jobs.get(job)["status"] == "completed"


def test_an_engine_that_loses_its_way_with_an_iterator_does_not_stop_the_lane(site: Site, jobs: UserJobs) -> None:
    """StopIteration cannot pass a future; asyncio would wait for ever."""
    job = jobs.submit("job")
    worker = site.start("--once", PUPPET_LOAD_RAISES="StopIteration")
    worker.wait_for("job.retry", job_id=job)
    assert worker.wait() == 0
    assert [error["type"] for error in jobs.get(job)["errors"]] == ["RuntimeError"]
