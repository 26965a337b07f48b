"""A process of ours that never outlives us: it is stopped, and on Linux it dies with us, however we die."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Becomes the command. A change of user clears the wish to die with the parent, so the wish comes after it; and the
# parent may have died before that.
_LAUNCHER = """
import ctypes, os, sys
parent, wish, uid, gid = map(int, sys.argv[1:5])
libc = ctypes.CDLL(None)
if uid != os.getuid():
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    libc.prctl(PR_SET_PDEATHSIG, wish)
if os.getppid() == parent:
    os.execv(sys.argv[5], sys.argv[5:])
"""


def dying_with_us(command: Sequence[str], wish: signal.Signals, account: tuple[int, int] | None = None) -> list[str]:
    """The command line of a child that runs `command` and, on Linux, gets the signal `wish` when this process dies.

    It runs as `account`, a user id and a group id, where that is given."""
    uid, gid = account or (os.getuid(), os.getgid())
    return [sys.executable, "-ISc", _LAUNCHER, *map(str, (os.getpid(), int(wish), uid, gid)), *command]


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path, patience: float = 5.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `directory` with its output in `log`; at the end SIGTERM, and SIGKILL `patience` seconds later.

    Linux ends it when the calling thread ends, so call this from one that lasts."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            dying_with_us(command, signal.SIGKILL),
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
