"""The folder of a demo: what a demo made there is replaced by the next one, and nothing else is touched."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from consumer.errors import UsageError

MARK = ".consumer-demo"
"""An empty file that says whose folder this is, and is locked while a demo is at work in it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a demo keeps its files."""

    path: Path

    @property
    def storage(self) -> Path:
        """The local storage of its worker."""
        return self.path / "storage"

    @property
    def log(self) -> Path:
        """The log of its worker."""
        return self.path / "worker.log"

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.path / "contact-sheet.png"

    @property
    def page(self) -> Path:
        """The gallery."""
        return self.path / "index.html"

    @property
    def own(self) -> tuple[Path, ...]:
        """Everything that a demo makes."""
        return (self.storage, self.log, self.sheet, self.page)


@contextmanager
def taken(directory: Path) -> Iterator[Folder]:
    """The folder, made or emptied of an earlier demo, and nobody else's meanwhile. Raises UsageError."""
    folder = Folder(directory.absolute())
    try:
        lock = _lock(folder)
    except BlockingIOError:
        raise UsageError(f"Another demo is at work in {directory}: choose another folder with --directory.") from None
    except OSError as error:
        raise UsageError(f"{directory} cannot be used for the demo: {error.strerror}.") from None
    with lock:
        yield folder


def _lock(folder: Folder) -> IO[str]:
    """Take the folder and empty it; returns the open file that holds the lock."""
    folder.path.mkdir(parents=True, exist_ok=True)
    mark = folder.path / MARK
    if not mark.exists() and (found := [path.name for path in folder.own if path.exists()]):
        raise UsageError(f"{folder.path} has a {found[0]} that no demo made: choose another folder with --directory.")
    lock = mark.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in folder.own:
            _remove(path)
    except OSError:
        lock.close()
        raise
    return lock


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
