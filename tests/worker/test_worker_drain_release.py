"""A worker that is told to leave finishes what fits in the grace period, and gives the rest back at once."""

import json
import signal
import time
from pathlib import Path

from user_jobs import UserJobs
from workers import Site, eventually


def test_a_job_that_does_not_fit_is_started_by_another_worker_at_once_and_one_in_delivery_is_finished(
    site: Site, jobs: UserJobs, tmp_path: Path
) -> None:
    delivered, drawing, health = site.gate("delivered.0.encode"), site.gate("long.1.start"), tmp_path / "health"
    job, long = jobs.submit("delivered"), jobs.submit("long", 16, works=0.8)
    worker = site.start(grace_seconds="10", health_file=str(health))
    delivered.wait()
    drawing.wait()
    other = site.start_idle()
    jobs.wait_for_idle()
    told = time.monotonic()
    worker.signal(signal.SIGTERM)
    other.wait_for("job.claimed", job_id=long, attempt=1)
    # The grace period is twice as long, the job needs even longer, and the step that it is in never ends.
    assert time.monotonic() - told < 5
    assert worker.wait_for("job.stopped", job_id=long)["reason"].endswith(" seconds more")
    assert json.loads(health.read_text())["state"] == "draining"
    eventually(lambda: site.drawn("long")[-1]["pid"] == other.pid, "it goes on there")
    here = [line["index"] for line in site.drawn("long") if line["pid"] == worker.pid]
    there = [line["index"] for line in site.drawn("long") if line["pid"] == other.pid]
    assert (here, there[0]) == (list(range(len(here))), len(here))
    assert jobs.get(job)["status"] == "processing"
    delivered.release()
    assert worker.wait() == 0
    assert (jobs.get(job)["status"], jobs.get(long)["errors"]) == ("completed", [])


def test_a_notice_gives_back_at_once_what_has_not_begun_and_finishes_what_has(
    site: Site, jobs: UserJobs, tmp_path: Path
) -> None:
    gate, notice = site.gate("first.end"), tmp_path / "notice"
    first, second = jobs.submit("first"), jobs.submit("second")
    worker = site.start(notice_file=str(notice))
    gate.wait()
    worker.wait_for("job.claimed", job_id=second)
    other = site.start_idle()
    jobs.wait_for_idle()
    notice.touch()
    other.wait_for("job.completed", job_id=second, attempt=1)
    assert jobs.get(first)["status"] == "processing"
    gate.release()
    assert worker.wait() == 0
    assert jobs.get(first)["status"] == "completed"
    [draining] = worker.events("worker.draining")
    assert draining["reason"] == "this machine is about to go: the file of CONSUMER_NOTICE_FILE is there"
    assert worker.events("job.stopped", job_id=second, reason="it has not begun")
    assert not worker.events("job.stopped", job_id=first)
