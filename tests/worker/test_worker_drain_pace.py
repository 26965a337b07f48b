"""What a worker that leaves thinks of the jobs in hand: which of them will be done in time."""

from collections.abc import Iterable

import pytest

from consumer.hands import too_late
from consumer.pace import Pace

GRACE = 100.0


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(clock: Clock, seconds: Iterable[float], of: int, pace: Pace | None = None) -> Pace:
    """A job that took its next steps in so many seconds each, `of` so many steps in all."""
    pace, done = pace or Pace(clock), 0
    pace.reach(0)
    for done, each in enumerate(seconds, 1):
        clock.now += each
        pace.reach(done / of)
    return pace


def test_a_job_needs_as_long_as_its_last_steps_took(clock: Clock) -> None:
    assert taken(clock, [3] * 4, of=10).remaining() == pytest.approx(6 * 3)
    assert taken(clock, [1] * 20 + [4] * 5, of=35).remaining() == pytest.approx(10 * 4)
    assert taken(clock, [2] * 7, of=7).remaining() == 0


def test_what_came_before_the_first_step_is_none(clock: Clock) -> None:
    pace = Pace(clock)
    pace.reach(0)
    clock.now += 600
    assert pace.remaining() is None
    assert taken(clock, [2, 2], of=10, pace=pace).remaining() == pytest.approx(16)


def test_a_step_counts_as_soon_as_it_lasts_longer_than_the_others_did(clock: Clock) -> None:
    pace = taken(clock, [2] * 5, of=10)
    clock.now += 2
    assert pace.remaining() == pytest.approx(5 * 2)
    clock.now += 10
    assert pace.remaining() == pytest.approx(5 * (5 * 2 + 12) / 6)


def test_steps_that_are_taken_once_more_begin_a_new_pace(clock: Clock) -> None:
    pace = taken(clock, [2] * 5, of=10)
    clock.now += 30
    pace.reach(0.2)
    assert pace.remaining() is None
    clock.now += 4
    pace.reach(0.4)
    assert pace.remaining() == pytest.approx(3 * 4)


def test_what_fits_and_what_does_not(clock: Clock) -> None:
    nine_to_go, pace = taken(clock, [10], of=10), Pace(clock)
    assert too_late(nine_to_go, GRACE, GRACE) is None
    # A tenth is for the delivery.
    assert too_late(nine_to_go, GRACE - 1, GRACE) == "it needs about 90 seconds more"
    assert too_late(None, GRACE, GRACE) == "it has not begun"
    assert too_late(pace, 0.8 * GRACE, GRACE) is None
    assert too_late(pace, 0.79 * GRACE, GRACE) == "it took no step in time"
    pace.off_lane = True
    assert too_late(pace, 0.1, GRACE) is None


def test_a_job_that_slows_down_no_longer_fits(clock: Clock) -> None:
    pace = taken(clock, [1] * 20, of=40)
    assert too_late(pace, GRACE, GRACE) is None
    # Each step now takes 15 seconds, and 20 of them are left: that is seen before the second of them has ended.
    begun = clock.now
    while too_late(pace, GRACE - (clock.now - begun), GRACE) is None:
        clock.now += 1
        if (clock.now - begun) % 15 == 0:
            pace.reach((20 + (clock.now - begun) // 15) / 40)
    assert clock.now - begun < 30
