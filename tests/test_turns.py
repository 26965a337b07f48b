"""Two engines that share a device: no ping-pong, and nobody waits for ever."""

from collections import defaultdict, deque
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from consumer.turns import Turns

BOUND = 30.0
LONGEST = 5.0
LOAD = 20.0


class Device:
    """A device with room for one model, and a clock."""

    def __init__(self, *engines: str, seconds: float = BOUND) -> None:
        self.now = 1000.0
        self.resident: set[str] = set()
        self.turns = Turns(engines, lambda: self.resident, seconds, lambda: self.now)

    def take(self, engine: str) -> None:
        self.turns.took(engine)
        self.resident = {engine}


def test_with_nothing_loaded_or_all_of_it_there_is_one_claim_from_all() -> None:
    device = Device("a", "b")
    assert device.turns.order() == (("a", "b"),)
    device.resident = {"a", "b"}
    assert device.turns.order() == (("a", "b"),)
    device.now += 10 * BOUND
    assert device.turns.order() == (("a", "b"),)


def test_one_engine_alone_is_not_even_asked() -> None:
    turns = Turns(["a"], lambda: {}[""], BOUND)
    assert turns.order() == (("a",),)


def test_zero_seconds_prefer_nothing() -> None:
    device = Device("a", "b", seconds=0)
    device.resident = {"a"}
    assert device.turns.order() == (("a", "b"),)


def test_the_resident_one_goes_first_until_its_time_is_over_and_then_the_others_do() -> None:
    device = Device("a", "b", "c")
    device.turns.order()
    device.take("a")
    device.now += BOUND - 0.1
    assert device.turns.order() == (("a",), ("a", "b", "c"))
    device.turns.took("a")
    device.now += 0.1
    assert device.turns.order() == (("b", "c"), ("a", "b", "c"))
    device.take("c")
    assert device.turns.order() == (("c",), ("a", "b", "c"))


def test_when_the_others_had_nothing_the_clock_begins_anew() -> None:
    device = Device("a", "b")
    device.turns.order()
    device.take("a")
    device.now += BOUND
    assert device.turns.order()[0] == ("b",)
    device.turns.took("a")
    assert device.turns.order()[0] == ("a",)


def test_others_that_went_first_in_vain_while_nothing_was_there_at_all_go_first_again() -> None:
    device = Device("a", "b")
    device.turns.order()
    device.take("a")
    device.now += BOUND
    assert device.turns.order()[0] == device.turns.order()[0] == ("b",)


def test_a_switch_for_want_of_work_begins_a_turn_too() -> None:
    device = Device("a", "b")
    device.turns.order()
    device.take("a")
    device.now += BOUND - 1
    device.turns.order()
    device.take("b")
    device.now += BOUND - 1
    assert device.turns.order()[0] == ("b",)


@dataclass
class Run:
    """What became of a stream of jobs on one device."""

    loads: int = 0
    needless: int = 0
    waits: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def simulate(jobs: list[tuple[str, float, float]], seconds: float = BOUND) -> Run:
    """Let (engine, arrival, duration) pass over a device as a worker would take them; `waits` has the longest time
    that an engine with jobs in line went without one."""
    device, run = Device("a", "b", seconds=seconds), Run()
    coming = deque(sorted(jobs, key=lambda job: job[1]))
    line: dict[str, deque[tuple[float, float]]] = {"a": deque(), "b": deque()}
    served = {"a": 0.0, "b": 0.0}
    switched = device.now
    while coming or any(line.values()):
        while coming and coming[0][1] + 1000 <= device.now:
            engine, arrival, duration = coming.popleft()
            line[engine].append((arrival + 1000, duration))
        chosen = None
        for engines in device.turns.order():
            heads = [(line[engine][0], engine) for engine in engines if line[engine]]
            if heads:
                (arrival, duration), chosen = min(heads)
                break
        if chosen is None:
            device.now = coming[0][1] + 1000
            continue
        run.waits[chosen] = max(run.waits[chosen], device.now - max(arrival, served[chosen]))
        line[chosen].popleft()
        if chosen not in device.resident:
            run.loads += 1
            run.needless += any(line[engine] for engine in device.resident) and device.now - switched < seconds
            switched = device.now
            device.take(chosen)
            device.now += LOAD
        else:
            device.turns.took(chosen)
        served[chosen] = device.now
        device.now += duration
    return run


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 500), st.floats(0.01, LONGEST)), min_size=1, max_size=120)
)
def test_no_switch_is_needless_and_no_line_stands_still(jobs: list[tuple[str, float, float]]) -> None:
    run = simulate(jobs)
    assert run.needless == 0
    # The job of its own that ran last, the other's turn, and the last job of that turn.
    assert all(wait <= LONGEST + BOUND + LOAD + LONGEST for wait in run.waits.values())


def test_two_full_lines_cost_a_load_for_each_turn_and_not_for_each_job() -> None:
    jobs = [("ab"[n % 2], n * 0.1, 1.0) for n in range(400)]
    run, alternating = simulate(jobs), simulate(jobs, seconds=0)
    # 400 seconds of work in turns of 30, of which 20 go into the load: 10 jobs to a turn.
    assert run.loads <= 400 / (BOUND - LOAD) + 1
    assert alternating.loads == 400
