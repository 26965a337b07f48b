"""Work that hangs is noticed by the phase that it is in, and nothing else is."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from consumer.engines.base import Phase
from consumer.errors import EngineHungError
from consumer.lane import Lane
from consumer.settings import PHASE_SECONDS
from consumer.watchdog import Watchdog

LIMIT = 0.2


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What the work waits for; it is free at the end, or its thread would live on."""
    event = threading.Event()
    yield event
    event.set()


def lane_with(**seconds: float) -> Lane:
    """A lane whose other phases may last for minutes."""
    return Lane(Watchdog({**PHASE_SECONDS, **seconds}))


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
def test_each_phase_has_its_own_limit(phase: Phase, release: threading.Event) -> None:
    lane = lane_with(**{phase.value: LIMIT})

    def work() -> None:
        lane.watchdog.begin(phase)
        release.wait()

    async def run() -> None:
        started = time.monotonic()
        with pytest.raises(EngineHungError) as caught:
            await lane.run(work)
        assert str(caught.value) == f"The work hung in the phase {phase.value}: nothing happened for 0.2 seconds."
        assert (caught.value.phase, caught.value.seconds) == (phase.value, LIMIT)
        assert LIMIT * 0.9 <= time.monotonic() - started < 20
        assert lane.running == 1, "nobody waited for the work"

    asyncio.run(run())
    lane.close()


def test_a_short_limit_counts_although_the_phase_before_it_has_a_long_one(release: threading.Event) -> None:
    lane = lane_with(load=3600, step=LIMIT)

    def work() -> None:
        lane.watchdog.begin(Phase.load)
        time.sleep(2 * LIMIT)
        lane.watchdog.begin(Phase.step)
        release.wait(30)

    with pytest.raises(EngineHungError, match="phase step"):
        asyncio.run(lane.run(work))
    lane.close()


def check_ends(lane: Lane, *works: Callable[[], None], pause: float = 0.0) -> None:
    """All of the works end, one after the other, with a pause between them."""

    async def run() -> None:
        for work in works:
            await lane.run(work)
            await asyncio.sleep(pause)

    asyncio.run(run())
    lane.close()


def test_a_word_in_time_starts_the_limit_anew() -> None:
    lane = lane_with(step=LIMIT)

    def work() -> None:
        for _ in range(10):
            lane.watchdog.begin(Phase.step)
            time.sleep(LIMIT / 4)

    check_ends(lane, work)


def test_time_in_which_nothing_runs_does_not_count() -> None:
    lane = lane_with(step=LIMIT)
    check_ends(
        lane, lambda: lane.watchdog.begin(Phase.step), lambda: time.sleep(LIMIT / 4), lambda: None, pause=2 * LIMIT
    )


def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    lane = lane_with(step=LIMIT)

    async def run() -> None:
        lane.watchdog.begin(Phase.step)
        # The loop stands still for as long as the engine's thread does, as in a process that was stopped.
        asyncio.get_running_loop().call_later(LIMIT / 10, time.sleep, 3 * LIMIT)
        await lane.run(lambda: time.sleep(3.3 * LIMIT))

    asyncio.run(run())
    lane.close()


def test_an_engine_that_goes_on_after_it_was_given_up_is_stopped_at_its_next_word(release: threading.Event) -> None:
    lane = lane_with(step=LIMIT)
    told: list[BaseException] = []
    over = threading.Event()

    def work() -> None:
        lane.watchdog.begin(Phase.step)
        release.wait(30)
        try:
            lane.watchdog.begin(Phase.step)
        except EngineHungError as error:
            told.append(error)
        over.set()

    with pytest.raises(EngineHungError):
        asyncio.run(lane.run(work))
    release.set()
    assert over.wait(20)
    assert len(told) == 1
    lane.close()


def test_an_error_of_the_work_passes_as_it_is() -> None:
    lane = lane_with()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(lane.run(lambda: 1 / 0))
    lane.close()
