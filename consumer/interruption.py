"""Ctrl-C between two steps and never inside one: a query, a start or a stop is always done whole."""

import signal
from types import FrameType


class Interruption:
    """From now on SIGINT, SIGTERM and SIGHUP are only noted, and `check` tells."""

    def __init__(self) -> None:
        self.signal: int | None = None
        # `nohup` asks for SIGHUP to be ignored.
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM, *hangup)
        }

    def check(self) -> None:
        """Raise KeyboardInterrupt when a signal has come."""
        if self.signal is not None:
            raise KeyboardInterrupt

    def over(self, *, ends: bool = False) -> None:
        """Signals do again what they did before; where the process `ends` now, they do nothing any more."""
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_IGN if ends else before)

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that the signal ended."""
        return 128 + (self.signal or signal.SIGINT)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = self.signal or number
