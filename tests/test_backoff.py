"""The wait between two attempts."""

import pytest

from consumer.backoff import delay

ATTEMPTS = [*range(1, 12), 65, 1000, 100_000]


@pytest.mark.parametrize(("attempt", "step"), [(1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (100_000, 600)])
def test_each_attempt_doubles_the_wait_up_to_the_cap(attempt, step):
    assert delay(attempt, random=lambda: 0.0) == step / 2
    assert delay(attempt, random=lambda: 0.5) == step * 0.75
    assert delay(attempt, random=lambda: 1.0) == step


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_wait_is_never_short_and_never_beyond_the_cap(attempt):
    waits = [delay(attempt, base=2, cap=60) for _ in range(200)]
    assert min(waits) >= 1
    assert max(waits) <= 60


def test_the_longest_wait_never_shrinks_with_another_attempt():
    longest = [delay(attempt, random=lambda: 1.0) for attempt in ATTEMPTS]
    assert longest == sorted(longest)


def test_jobs_that_failed_together_do_not_come_back_together():
    assert len({delay(3) for _ in range(50)}) == 50
