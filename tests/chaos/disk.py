"""The disk of the local storage, which can be full: a small file system of its own, where this user may mount one, and
otherwise a limit on what worker processes may write (their files then end with EFBIG in the place of ENOSPC)."""

import resource
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

SIZE = 512 * 1024


class Disk:
    """At `folder`; `kind` is `tmpfs` or `limit`. `workers` tells the processes that a limit is for."""

    def __init__(self, folder: Path, workers: Callable[[], Iterable[int]]) -> None:
        self.folder = folder
        self._workers = workers
        self._filler = folder / "filler"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
        self.kind = "limit"
        with suppress(FileNotFoundError, subprocess.CalledProcessError):
            subprocess.run(mount, stderr=subprocess.DEVNULL, check=True)
            self.kind = "tmpfs"

    def fill(self) -> None:
        """Leave no room."""
        if self.kind == "limit":
            self._limit(0)
            return
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def make_room(self) -> None:
        """Room again."""
        if self.kind == "limit":
            self._limit(resource.RLIM_INFINITY)
        else:
            self._filler.unlink(missing_ok=True)

    def _limit(self, size: int) -> None:
        for pid in self._workers():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def close(self) -> None:
        """Unmount it."""
        if self.kind == "tmpfs":
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
