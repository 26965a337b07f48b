"""Several models on one device, which has room for one of them: two of one engine, and one of another."""

import json
from pathlib import Path
from uuid import UUID

from postgres import Database
from user_jobs import UserJobs
from workers import Site, Worker, eventually

ONE_ROOM = {"engines": "puppet,puppet2", "PUPPET_ALONE": "1"}


def loads(site: Site) -> list[str]:
    """The models that were loaded, in order: an engine's own goes by its name."""
    path = site.gates / "loads"
    return [json.loads(line)["model"] for line in path.read_text().splitlines()] if path.exists() else []


def submit_mixed(jobs: UserJobs, count: int, *job_types: str) -> list[UUID]:
    """So many jobs of each job type, one by one."""
    return [jobs.submit(f"{name}-{n}", job_type=name) for n in range(count) for name in job_types]


def drawn(site: Site) -> list[tuple[str, int]]:
    """The jobs of `submit_mixed` in the order in which they were drawn: their job type and its number."""
    parts = [line["job"].rpartition("-") for line in site.drawn()]
    return [(job_type, int(n)) for job_type, _, n in parts]


def run(site: Site, **environment: str) -> Worker:
    worker = site.start("--drain-and-exit", **ONE_ROOM, **environment)
    assert worker.wait(60) == 0
    return worker


def test_two_models_of_one_engine_are_loaded_a_fifth_as_often_as_the_fair_order_would(
    site: Site, jobs: UserJobs
) -> None:
    fair = submit_mixed(jobs, 10, "puppet", "puppet_b")
    worker = run(site, affinity_seconds="0")
    [stopped] = worker.events("worker.stopped")
    assert (stopped["jobs"], sorted(stopped["loads"].split())) == (20, ["puppet:b=10", "puppet=10"])
    assert drawn(site) == [(name, n) for n in range(10) for name in ("puppet", "puppet_b")]
    before = len(loads(site))

    preferring = submit_mixed(jobs, 30, "puppet", "puppet_b")
    run(site)
    assert {jobs.get(job)["status"] for job in (*fair, *preferring)} == {"completed"}
    after = len(loads(site)) - before
    assert 5 * after / len(preferring) <= before / len(fair)
    for name in ("puppet", "puppet_b"):
        assert [n for job_type, n in drawn(site)[20:] if job_type == name] == list(range(30)), "each line has its order"


def test_models_that_all_fit_are_served_in_the_fair_order(site: Site, jobs: UserJobs) -> None:
    submit_mixed(jobs, 3, "puppet", "puppet_b")
    worker = site.start("--drain-and-exit", affinity_seconds="600")
    assert worker.wait() == 0
    assert [job_type for job_type, _ in drawn(site)] == ["puppet", "puppet_b"] * 3
    assert loads(site) == ["puppet", "puppet:b"]


def test_whoever_is_first_in_line_waits_for_the_other_models_no_longer_than_the_bound_and_one_job(
    site: Site, jobs: UserJobs, db: Database, tmp_path: Path
) -> None:
    work, bound, path = 0.1, 1.0, tmp_path / "health"
    stream = [jobs.submit(f"job-{n}", works=work) for n in range(25)]
    # Of users who have no other job: each is next after the first of the stream.
    second, third = (UserJobs(db).submit(name, job_type=name) for name in ("puppet_b", "puppet2"))
    worker = site.start(**ONE_ROOM, affinity_seconds=str(bound), health_file=str(path))
    for job in (*stream, second, third):
        jobs.wait_until(job, "completed")
    begun = "select extract(epoch from started_at)::float from public.jobs where id = %s"
    started = [jobs.value(begun, job) for job in (stream[0], second, third)]
    # A second is for the statements in between.
    assert bound * 0.9 < started[1] - started[0] < bound + work + 1
    assert started[2] - started[1] < bound + work + 1
    assert loads(site) == ["puppet", "puppet:b", "puppet2", "puppet"]
    assert not worker.events("worker.draining")
    told = eventually(lambda: (now := json.loads(path.read_text()))["loads"].get("puppet") == 2 and now, "it is told")
    assert told["loads"] == {"puppet": 2, "puppet:b": 1, "puppet2": 1}
