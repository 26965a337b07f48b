"""Which engines may be claimed from now, so that two that share a device do not reload it at each job."""

import time
from collections.abc import Callable, Collection, Sequence


class Turns:
    """Prefers the engines whose models are in place, for at most so many seconds since another one took its turn.

    Then the others go first, so that the head of their line waits no longer than that and the job that is running.
    Among the engines that are preferred, and within each of them, the order of service is the database's.
    """

    def __init__(
        self,
        engines: Sequence[str],
        resident: Callable[[], Collection[str]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`resident()` names the engines that can work without moving out another one's model. 0 `seconds`: none is
        ever preferred."""
        self.engines = tuple(engines)
        self._resident = resident
        self._seconds = seconds
        self._clock = clock
        self._preferred: tuple[str, ...] = ()
        self._overdue = False
        self._since = clock()

    def order(self) -> tuple[tuple[str, ...], ...]:
        """What to claim from, one after the other until a job is found: the preferred engines, then all."""
        resident = self._resident() if self._seconds and len(self.engines) > 1 else self.engines
        here = tuple(engine for engine in self.engines if engine in resident)
        away = tuple(engine for engine in self.engines if engine not in resident)
        self._overdue = self._clock() - self._since >= self._seconds
        self._preferred = away if self._overdue else here
        return (self._preferred, self.engines) if here and away else (self.engines,)

    def took(self, engine: str) -> None:
        """A job of `engine` was claimed."""
        if self._overdue or engine not in self._preferred:
            self._since = self._clock()
