"""Ctrl-C at any moment: SIGINT, SIGTERM and SIGHUP interrupt only where the work allows it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """From now on, until the process ends, the first signal raises KeyboardInterrupt inside `allowed`, once.

    One that arrives outside, while something is being started or stopped, is kept for the next `allowed`."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._allowed = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Work that may stop anywhere."""
        self._allowed = True
        try:
            if self.signal is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that the signal ended."""
        return 128 + (self.signal or signal.SIGINT)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        first, self.signal = self.signal is None, self.signal or number
        if first and self._allowed:
            raise KeyboardInterrupt
