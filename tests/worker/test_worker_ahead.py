"""The next job is claimed and made ready while the last one is still on the lane, near its end."""

import signal

from user_jobs import UserJobs
from workers import Site, check_picture


def test_the_next_job_is_claimed_near_the_end_of_the_one_on_the_lane_and_begins_after_it(
    site: Site, jobs: UserJobs
) -> None:
    gates = [site.gate("first.0.middle"), site.gate("first.end")]
    first, second = jobs.submit("first"), jobs.submit("second")
    worker = site.start("--drain-and-exit")
    gates[0].wait()
    assert worker.events("job.claimed", job_id=second) == []
    gates[0].release()
    gates[1].wait()
    worker.wait_for("job.claimed", job_id=second)
    worker.wait_for("asset.recorded", job_id=first)
    assert [line["job"] for line in site.drawn()] == ["first"]
    gates[1].release()
    assert worker.wait() == 0
    assert [line["job"] for line in site.drawn()] == ["first", "second"]
    for job in (first, second):
        check_picture(site, jobs.images(job)[0])


def test_a_job_that_has_not_begun_when_the_worker_is_told_to_leave_goes_back(site: Site, jobs: UserJobs) -> None:
    gate = site.gate("first.end")
    first, second = jobs.submit("first"), jobs.submit("second")
    worker = site.start()
    gate.wait()
    worker.wait_for("job.claimed", job_id=second)
    worker.signal(signal.SIGTERM)
    worker.wait_for("worker.draining")
    gate.release()
    assert worker.wait() == 0
    assert jobs.get(first)["status"] == "completed"
    assert (jobs.get(second)["status"], jobs.get(second)["attempts"]) == ("queued", 0)
    assert [line["job"] for line in site.drawn()] == ["first"]


def test_a_job_is_waited_for_only_by_a_worker_that_could_begin_it(site: Site, jobs: UserJobs) -> None:
    gate = site.gate("first.end")
    first = jobs.submit("first")
    worker = site.start()
    gate.wait()
    worker.wait_for("asset.recorded", job_id=first)
    assert jobs.run("select id from consumer.workers where idle_since is not null") == []
    second = jobs.submit("second")
    other = site.start("--once")
    other.wait_for("job.completed", job_id=second)
    gate.release()
    worker.wait_for("job.completed", job_id=first)
