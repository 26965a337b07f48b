"""One worker process, and what it tells."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consumer import child

Line = tuple[str, int, int]
"""mark, start or end; the count or the job's number; monotonic nanoseconds."""


class Worker:
    """A worker process; killed at the end of the `with` block, for how it would end is not measured."""

    def __init__(self, command: Sequence[str | Path], dsn: str, settings: dict[str, Any], log: Path) -> None:
        line = child.dying_with_us([*map(str, command), "work", dsn, json.dumps(settings)], signal.SIGKILL)
        self._log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment())
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.told: list[Line] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def line(self, timeout: float) -> list[str] | None:
        """The next line in words; None where none came in time. Raises RuntimeError when the worker has ended."""
        try:
            text = self._lines.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if text is None:
            self.process.wait()
            raise RuntimeError(f"The worker ended with {self.process.returncode}; see {self._log}:\n{self.tail()}")
        return text.split()

    def ready(self, timeout: float = 30.0) -> Self:
        """Wait until it says so."""
        if self.line(timeout) != ["ready"]:
            raise RuntimeError(f"The worker did not become ready; see {self._log}:\n{self.tail()}")
        return self

    def until(self, kind: str, number: int, timeout: float) -> int | None:
        """When `kind number` was (monotonic nanoseconds); None where it was not told in time. Keeps all in `told`."""
        deadline = time.monotonic() + timeout
        while words := self.line(deadline - time.monotonic()):
            found, count, at = words[0], int(words[1]), int(words[2])
            self.told.append((found, count, at))
            if (found, count) == (kind, number):
                return at
        return None

    def drain_lines(self, timeout: float = 0.0) -> None:
        """Put into `told` what is told within `timeout` seconds."""
        self.until("", -1, timeout)

    def tail(self) -> str:
        """The end of its standard error."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


def environment() -> dict[str, str]:
    """Ours, without settings of the consumer that somebody may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CONSUMER_", "PG"))}
