"""How long a job still needs on the lane, by its own pace."""

import time
from collections.abc import Callable

WINDOW = 5
"""Steps that the pace is measured over: enough that one slow step among them weighs little, few enough that a job which
slows down is soon seen to."""


class Pace:
    """That of one job, from the moment it is on the lane."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.off_lane = False
        self._clock = clock
        self._marks: tuple[tuple[float, float], ...] = ()

    def reach(self, part: float) -> None:
        """So much of the job is done, from 0 to 1. Called from any thread."""
        mark = (self._clock(), part)
        if self._marks and part > self._marks[-1][1]:
            self._marks = (*self._marks, mark)[-WINDOW - 1 :]
        elif len(self._marks) < 2 or part < self._marks[-1][1]:
            # What took time before the first step was none, but a load or a prompt; and after a lack of memory, steps
            # are taken once more.
            self._marks = (mark,)

    def remaining(self) -> float | None:
        """Seconds until the last step; None before the first one. The step under way counts as soon as it has lasted
        longer than the others did."""
        marks, now = self._marks, self._clock()
        if len(marks) < 2:
            return None
        (begun, before), (last, part), steps = marks[0], marks[-1], len(marks) - 1
        per_step = max((last - begun) / steps, (now - begun) / (steps + 1))
        return per_step * steps * (1 - part) / (part - before)
