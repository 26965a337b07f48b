"""Which job types may be claimed from now, so that two models that share a device are not loaded at each job."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from consumer.engines.base import Engine
from consumer.job import JobType


class Turns:
    """Prefers the job types whose models are in place, for at most so many seconds since a model took its turn.

    After that the order of service is the database's again, whatever has to move for it, until it asks for a model that
    is not in place, which then takes its turn. So whoever is first in line waits no longer than those seconds and the
    job that is running, and over time each line gets the share that is due to it. Among the job types that are
    preferred, and within each of them, the order is the database's at any time.
    """

    def __init__(
        self,
        job_types: Sequence[str],
        in_place: Callable[[], Collection[str]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`in_place()` names the job types that can be worked on without moving out another one's model. 0 `seconds`:
        none is ever preferred."""
        self.job_types = tuple(job_types)
        self._in_place = in_place
        self._seconds = seconds
        self._clock = clock
        self._here = self.job_types
        self._since = clock()

    def order(self) -> tuple[tuple[str, ...], ...]:
        """What to claim from, one after the other until a job is found: the preferred job types, then all."""
        if not self._seconds or len(self.job_types) == 1:
            return (self.job_types,)
        in_place = self._in_place()
        self._here = tuple(job_type for job_type in self.job_types if job_type in in_place)
        overdue = self._clock() - self._since >= self._seconds
        if overdue or len(self._here) in (0, len(self.job_types)):
            return (self.job_types,)
        return (self._here, self.job_types)

    def took(self, job_type: str) -> None:
        """A job of `job_type` was claimed."""
        if job_type not in self._here:
            self._since = self._clock()


def in_place(job_types: Mapping[str, JobType], engines: Mapping[str, Engine]) -> set[str]:
    """The job types whose own model is in place in their engine, or finds room there."""
    models = {(job_type.engine, job_type.model) for job_type in job_types.values()}
    resident = {(engine, model) for engine, model in models if engines[engine].resident(model)}
    return {name for name, job_type in job_types.items() if (job_type.engine, job_type.model) in resident}
