"""A process of ours that never outlives us: it is stopped, and on Linux it dies with us, however we die."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Becomes the command. The parent may have died before the wish to die with it was known.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path, patience: float = 5.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `directory` with its output in `log`; at the end SIGTERM, and SIGKILL `patience` seconds later.

    Linux ends it when the calling thread ends, so call this from one that lasts."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-ISc", _LAUNCHER, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=environment,
            # Ctrl-C in a terminal is for us alone: we know what must end before what.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        process.kill()
        process.wait()
