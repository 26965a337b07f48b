"""Two engines on one device, which has room for one of them."""

import json
from pathlib import Path
from uuid import UUID

from user_jobs import UserJobs
from workers import Site, Worker, eventually

BOTH = {"engines": "puppet,puppet2", "PUPPET_ALONE": "1"}


def loads(site: Site) -> list[str]:
    """The engines that were loaded, in order."""
    path = site.gates / "loads"
    return [json.loads(line)["engine"] for line in path.read_text().splitlines()] if path.exists() else []


def submit_mixed(jobs: UserJobs, count: int) -> list[UUID]:
    """So many jobs of each engine, one by one."""
    return [jobs.submit(f"{name}-{n}", job_type=name) for n in range(count) for name in ("puppet", "puppet2")]


def run(site: Site, **environment: str) -> Worker:
    worker = site.start("--drain-and-exit", **BOTH, **environment)
    assert worker.wait(60) == 0
    return worker


def test_a_mixed_line_costs_one_load_of_each_engine_which_are_counted_and_shown(site: Site, jobs: UserJobs) -> None:
    submitted = submit_mixed(jobs, 20)
    worker = run(site, affinity_seconds="600")
    assert {jobs.get(job)["status"] for job in submitted} == {"completed"}
    assert sorted(loads(site)) == ["puppet", "puppet2"]
    [stopped] = worker.events("worker.stopped")
    assert (stopped["jobs"], sorted(stopped["loads"].split())) == (40, ["puppet2=1", "puppet=1"])
    drawn = [line["job"].partition("-") for line in site.drawn()]
    for name in ("puppet", "puppet2"):
        assert [int(n) for engine, _, n in drawn if engine == name] == list(range(20)), "each line keeps its order"


def test_without_it_the_fair_order_loads_again_and_again(site: Site, jobs: UserJobs) -> None:
    """What the test above rests on: the two lines would alternate."""
    submit_mixed(jobs, 5)
    worker = run(site, affinity_seconds="0")
    assert len(loads(site)) == 10
    [stopped] = worker.events("worker.stopped")
    assert sorted(stopped["loads"].split()) == ["puppet2=5", "puppet=5"]


def test_two_engines_that_both_fit_are_served_in_the_fair_order(site: Site, jobs: UserJobs) -> None:
    submit_mixed(jobs, 3)
    worker = site.start("--drain-and-exit", engines="puppet,puppet2", affinity_seconds="600")
    assert worker.wait() == 0
    assert [line["job"].partition("-")[0] for line in site.drawn()] == ["puppet", "puppet2"] * 3
    assert len(loads(site)) == 2


def test_a_job_for_the_other_engine_waits_no_longer_than_the_bound_and_one_job(
    site: Site, jobs: UserJobs, tmp_path: Path
) -> None:
    work, bound, path = 0.1, 1.0, tmp_path / "health"
    stream = [jobs.submit(f"job-{n}", works=work) for n in range(25)]
    other = jobs.submit("other", job_type="puppet2")
    worker = site.start(**BOTH, affinity_seconds=str(bound), health_file=str(path))
    for job in (*stream, other):
        jobs.wait_until(job, "completed")
    begun = "select extract(epoch from started_at)::float from public.jobs where id = %s"
    waited = jobs.value(begun, other) - jobs.value(begun, stream[0])
    # A second is for the statements in between.
    assert bound * 0.9 < waited < bound + work + 1
    assert loads(site) == ["puppet", "puppet2", "puppet"]
    assert not worker.events("worker.draining")
    told = eventually(lambda: (now := json.loads(path.read_text()))["loads"].get("puppet") == 2 and now, "it is told")
    assert told["loads"] == {"puppet": 2, "puppet2": 1}


def test_two_long_lines_take_turns_of_the_length_that_is_set(site: Site, jobs: UserJobs) -> None:
    bound = 1.0
    for n in range(15):
        jobs.submit(f"a-{n}", works=0.1)
        jobs.submit(f"b-{n}", job_type="puppet2", works=0.1)
    run(site, affinity_seconds=str(bound))
    lasted = jobs.value("select extract(epoch from max(started_at) - min(started_at))::float from public.jobs")
    assert lasted > 2 * bound
    # One to begin with, one for each turn that was over, and one when a line came to its end.
    assert 3 <= len(loads(site)) <= 1 + lasted / bound + 1
