"""A worker that has done enough, or grown too large, finishes what it has in hand and leaves with exit code 0."""

import json
import re
from pathlib import Path

from user_jobs import UserJobs
from workers import Site, eventually


def test_after_so_many_jobs_those_in_delivery_are_finished(site: Site, jobs: UserJobs, tmp_path: Path) -> None:
    gate, health = site.gate("a.0.encode"), tmp_path / "health"
    a, b, c = (jobs.submit(name) for name in "abc")
    worker = site.start("--max-jobs", "2", grace_seconds="0", health_file=str(health))
    gate.wait()
    worker.wait_for("worker.draining", reason="that was the last job asked for")
    worker.wait_for("job.completed", job_id=b)
    assert json.loads(health.read_text())["state"] == "draining"
    assert jobs.get(a)["status"] == "processing"
    gate.release()
    assert worker.wait() == 0
    assert (jobs.get(a)["status"], jobs.get(c)["claim_id"]) == ("completed", None)


def test_a_process_that_has_grown_too_large_leaves_after_the_jobs_in_hand(
    site: Site, jobs: UserJobs, tmp_path: Path
) -> None:
    gates, health = [site.gate("a.end"), site.gate("b.0.start")], tmp_path / "health"
    a, b = jobs.submit("a"), jobs.submit("b")
    worker = site.start(max_memory_gb="0.01", health_file=str(health))
    gates[0].wait()
    worker.wait_for("job.claimed", job_id=b)
    assert worker.events("worker.draining") == []
    gates[0].release()
    gates[1].wait()
    reason = worker.wait_for("worker.draining")["reason"]
    assert re.fullmatch(r"this process takes \d+\.\d\d GB of memory, and CONSUMER_MAX_MEMORY_GB allows 0\.01", reason)
    eventually(lambda: json.loads(health.read_text())["state"] == "draining", "it tells that it leaves")
    gates[1].release()
    assert worker.wait() == 0
    assert [jobs.get(job)["status"] for job in (a, b)] == ["completed", "completed"]
