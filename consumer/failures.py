"""Failures in a row: when a process stops blaming the jobs."""

from collections.abc import Iterator
from contextlib import contextmanager

from consumer.errors import Decision, decide
from consumer.job import Job


class Failures:
    """Counts those in a row that this process may be to blame for. With the `most`th it is unfit."""

    def __init__(self, most: float) -> None:
        self.most = most
        self._in_a_row = 0
        self._undecided = 0

    @contextmanager
    def undecided(self) -> Iterator[None]:
        """A job has left the lane. While it may still be completed, nobody knows how long the row is."""
        self._undecided += 1
        try:
            yield
        finally:
            self._undecided -= 1

    def completed(self) -> None:
        """A job was completed, which ends the row; one that was cancelled, lost or rejected proves nothing."""
        self._in_a_row = 0

    def decide(self, error: BaseException, job: Job) -> Decision:
        """What follows from `error`, which is counted."""
        row = 0 if self._undecided else self._in_a_row
        decision = decide(
            error,
            attempts=job.attempts,
            max_attempts=job.max_attempts,
            given_back=job.given_back,
            failures=row,
            max_failures=self.most,
        )
        self._in_a_row += decision.suspicious
        return decision
