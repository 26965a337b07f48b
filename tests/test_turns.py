"""Models that share a device: no ping-pong, nobody waits for ever, and nobody gets more than a share."""

from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.job import JobType, Medium
from consumer.turns import Turns, in_place

BOUND = 30.0
LONGEST = 5.0
LOAD = 20.0


class Device:
    """A device with room for one model, that of one job type, and a clock."""

    def __init__(self, *job_types: str, seconds: float = BOUND) -> None:
        self.now = 1000.0
        self.there: set[str] = set()
        self.turns = Turns(job_types, lambda: self.there, seconds, lambda: self.now)

    def take(self, job_type: str) -> None:
        self.turns.took(job_type)
        self.there = {job_type}


@pytest.mark.parametrize("there", [set(), {"a", "b"}])
def test_with_nothing_loaded_or_all_of_it_there_is_one_claim_from_all(there: set[str]) -> None:
    device = Device("a", "b")
    device.there = there
    assert device.turns.order() == (("a", "b"),)
    device.now += 10 * BOUND
    assert device.turns.order() == (("a", "b"),)


def test_one_job_type_alone_is_not_even_asked_for() -> None:
    turns = Turns(["a"], lambda: {}[""], BOUND)
    assert turns.order() == (("a",),)


def test_zero_seconds_prefer_nothing() -> None:
    device = Device("a", "b", seconds=0)
    device.there = {"a"}
    assert device.turns.order() == (("a", "b"),)


def test_the_model_in_place_goes_first_until_its_time_is_over_and_then_the_fair_order_decides() -> None:
    device = Device("a", "b", "c")
    device.turns.order()
    device.take("a")
    device.now += BOUND - 0.1
    assert device.turns.order() == (("a",), ("a", "b", "c"))
    device.turns.took("a")
    device.now += 0.1
    assert device.turns.order() == (("a", "b", "c"),)
    device.turns.took("a")
    assert device.turns.order() == (("a", "b", "c"),), "it was due to it, and is no turn"
    device.take("c")
    assert device.turns.order() == (("c",), ("a", "b", "c"))


def test_a_change_for_want_of_work_begins_a_turn_too() -> None:
    device = Device("a", "b")
    device.turns.order()
    device.take("a")
    device.now += BOUND - 1
    device.turns.order()
    device.take("b")
    device.now += BOUND - 1
    assert device.turns.order()[0] == ("b",)


class Shelf:
    """An engine in whose place are the models of a set."""

    def __init__(self, *models: str) -> None:
        self.models = models

    def resident(self, model: str) -> bool:
        return model in self.models


def test_a_job_type_is_in_place_with_its_own_model() -> None:
    job_types = {
        name: JobType(name, engine, Medium.image, model=model)
        for name, engine, model in (("plain", "one", ""), ("x", "one", "x"), ("y", "one", "y"), ("other", "two", "x"))
    }
    assert in_place(job_types, {"one": Shelf("x"), "two": Shelf()}) == {"x"}
    assert in_place(job_types, {"one": Shelf("", "y"), "two": Shelf("x")}) == {"plain", "y", "other"}


@dataclass(frozen=True)
class Job:
    """A job that comes at `at` and takes `seconds`; the database's order is that of the tags."""

    line: str
    at: float
    seconds: float
    tag: float


@dataclass
class Run:
    """What became of a stream of jobs on one device."""

    loads: int = 0
    needless: int = 0
    longest_first: float = 0.0
    served: list[Job] = field(default_factory=list)


def simulate(jobs: list[Job], seconds: float = BOUND, load: float = LOAD) -> Run:
    """Let jobs pass over a device as a worker would take them. `longest_first` is the longest time that a job stood
    first in the database's order; `needless` counts changes of a model whose turn was not over and that had work."""
    device, run = Device("a", "b", "c", seconds=seconds), Run()
    coming, waiting = deque(sorted(jobs, key=lambda job: job.at)), list[Job]()
    first_since = changed = device.now
    while coming or waiting:
        if not waiting:
            device.now = max(device.now, 1000 + coming[0].at)
        while coming and 1000 + coming[0].at <= device.now:
            job = coming.popleft()
            if not waiting or job.tag < min(each.tag for each in waiting):
                first_since = 1000 + job.at
            waiting.append(job)
        first = min(waiting, key=lambda job: job.tag)
        groups = ([job for job in waiting if job.line in lines] for lines in device.turns.order())
        job = min(next(group for group in groups if group), key=lambda job: job.tag)
        if job is first:
            run.longest_first, first_since = max(run.longest_first, device.now - first_since), device.now
        waiting.remove(job)
        run.served.append(job)
        if job.line in device.there:
            device.turns.took(job.line)
        else:
            run.loads += 1
            run.needless += any(each.line in device.there for each in waiting) and device.now - changed < seconds
            changed = device.now
            device.take(job.line)
            device.now += load
        device.now += job.seconds
    return run


times = st.floats(0, 500)
streams = st.lists(
    st.builds(Job, st.sampled_from("abc"), times, st.floats(0.01, LONGEST), times),
    max_size=120,
    unique_by=lambda j: j.tag,
)


@given(streams)
def test_no_load_is_needless_and_whoever_is_first_waits_for_the_bound_and_one_job(jobs: list[Job]) -> None:
    run = simulate(jobs)
    assert len(run.served) == len(jobs)
    assert run.needless == 0
    assert run.longest_first <= BOUND + LONGEST


@pytest.mark.parametrize("lines", ["ab", "abc"])
def test_full_lines_cost_a_load_for_each_turn_and_not_for_each_job(lines: str) -> None:
    jobs = [Job(lines[n % len(lines)], n * 0.1, 1.0, n) for n in range(400)]
    run, fair = simulate(jobs, load=5.0), simulate(jobs, seconds=0, load=5.0)
    assert fair.loads == 400
    # A turn is 30 seconds, of which 5 go into the load: 25 jobs.
    assert run.loads <= 400 / 25 + len(lines)
    for line in lines:
        places = [place for place, job in enumerate(run.served) if job.line == line]
        # Between two turns of a line lie those of the others.
        assert all(later - sooner <= 26 * len(lines) for sooner, later in pairwise(places))


def test_in_the_long_run_a_line_gets_its_share_and_not_half_of_the_device() -> None:
    """Nine users have jobs for one model, and a tenth for another."""
    jobs = [Job("a" if user < 9 else "b", 0, 1.0, turn + user / 10) for turn in range(150) for user in range(10)]
    served = Counter[str]()
    for job in simulate(jobs, load=5.0).served:
        served[job.line] += 1
        assert abs(served["b"] - served["a"] / 9) <= BOUND
