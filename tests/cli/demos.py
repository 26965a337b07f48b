"""Demos as processes of their own, the moments in them, and what must be there when they end."""

import contextlib
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from workers import eventually


@dataclass
class Demo:
    """A running demo, in a process group of its own as a terminal gives it one."""

    process: subprocess.Popen[str]
    directory: Path
    lines: list[str]

    def read_until(self, word: str) -> None:
        """Read its lines up to one with `word`."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if word in line:
                return
        raise AssertionError(f"the demo ended without {word!r}: {self.lines}")

    def end(self, seconds: float = 60) -> tuple[int, str]:
        """Its exit code and what it said on stderr, once it has ended."""
        out, err = self.process.communicate(timeout=seconds)
        self.lines += out.splitlines()
        return self.process.returncode, err

    def log(self) -> str:
        """What its worker has said so far."""
        log = self.directory / "worker.log"
        return log.read_text() if log.exists() else ""

    def descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []


Start = Callable[..., Demo]
Living = Callable[[], list[psutil.Process]]


def check_files(demo: Demo, sizes: Sequence[tuple[int, int]]) -> None:
    """Everything that the demo promises is there: as many pictures as its table has rows, and what shows them."""
    rows = [line for line in demo.lines if re.match(r" ?[0-9a-f]{8} ", line)]
    files = [Path(row.split()[-1]) for row in rows]
    assert all(row.split()[2] == "completed" for row in rows)
    assert [tuple(map(int, row.split()[4].split("x"))) for row in rows] == list(sizes)
    for file, size in zip(files, sizes, strict=True):
        assert file.is_relative_to(demo.directory / "storage")
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert picture.size == size
    assert str(demo.directory / "index.html") in "".join(demo.lines)
    assert str(demo.directory / "contact-sheet.png") in "".join(demo.lines)
    page = (demo.directory / "index.html").read_text()
    assert all(str(file.relative_to(demo.directory)) in page for file in files)
    with Image.open(demo.directory / "contact-sheet.png") as sheet:
        assert sheet.width > 1000


def at_once(demo: Demo) -> None:
    # Python's own handlers are replaced by ours as the first thing that the command does.
    status = Path(f"/proc/{demo.process.pid}/status")

    def caught() -> int:
        [mask] = re.findall(r"SigCgt:\s*([0-9a-f]+)", status.read_text())
        return int(mask, 16) >> (signal.SIGTERM - 1) & 1

    eventually(caught, "the demo catches SIGTERM")


def in_initdb(demo: Demo) -> None:
    def found() -> bool:
        with contextlib.suppress(psutil.Error):
            return any("initdb" in process.name() for process in demo.descendants())
        return False

    eventually(found, "initdb is running")


def in_migration(demo: Demo) -> None:
    demo.read_until("a private Postgres")


def as_the_worker_starts(demo: Demo) -> None:
    demo.read_until("a worker")


def in_a_picture(demo: Demo) -> None:
    eventually(lambda: "job.claimed" in demo.log(), "the first job is claimed")


def after_a_picture(demo: Demo) -> None:
    demo.read_until("completed")


MOMENTS = [at_once, in_initdb, in_migration, as_the_worker_starts, in_a_picture, after_a_picture]
