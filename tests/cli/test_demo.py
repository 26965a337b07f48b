"""`consumer demo`, as a newcomer runs it: it shows its pictures, and leaves no process behind, whatever happens."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from PIL import Image
from workers import OURS, eventually

PR_SET_CHILD_SUBREAPER = 36

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")


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


@pytest.fixture
def adopted() -> Iterator[Callable[[], list[psutil.Process]]]:
    """What has outlived the process that started it: orphans become children of this process, and are seen here."""
    libc, us = ctypes.CDLL(None), psutil.Process()
    before = us.children()
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0

    def living() -> list[psutil.Process]:
        return [child for child in us.children() if child not in before and child.status() != psutil.STATUS_ZOMBIE]

    yield living
    for child in us.children():
        if child not in before:
            child.kill()
            child.wait()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Start]:
    """Start `consumer demo`; it is killed at the end."""
    started: list[Demo] = []

    def start(*options: str, directory: str = "demo", **environment: str) -> Demo:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "demo", "--directory", directory, *options],
            cwd=tmp_path, env=inherited | environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(Demo(process, tmp_path / directory, []))
        return started[-1]

    yield start
    for each in started:
        with each.process:
            each.process.kill()


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


def test_it_shows_pictures_and_leaves_nothing_running(demo: Start, adopted: Callable[[], list[psutil.Process]]) -> None:
    shown = demo()
    assert shown.end() == (0, "")
    assert adopted() == []
    check_files(shown, [(1024, 1024)] * 3 + [(1024, 576)] * 2 + [(480, 832)])
    assert sum(line.endswith("  completed") for line in shown.lines) == 6
    assert re.search(r"5 pictures and 1 video of 3 jobs in [\d.]+ seconds", "\n".join(shown.lines))


@pytest.mark.models
def test_it_shows_the_real_sdxl_pipeline_too(demo: Start, adopted: Callable[[], list[psutil.Process]]) -> None:
    shown = demo("--engine", "sdxl", "--jobs", "2")
    assert shown.end(110) == (0, "")
    assert adopted() == []
    check_files(shown, [(256, 256)] * 3 + [(320, 192)] * 2)


def test_two_run_side_by_side(demo: Start) -> None:
    both = [demo("--jobs", "1", directory=name, CONSUMER_SKETCH_SECONDS="0.1") for name in ("one", "two")]
    for each in both:
        assert each.end() == (0, "")
        check_files(each, [(1024, 1024)] * 3)


def at_once(demo: Demo) -> None:
    eventually(lambda: "consumer" in " ".join(psutil.Process(demo.process.pid).cmdline()), "the demo is starting")
    # Python's own handler is replaced by ours as the first thing that the command does.
    caught = r"SigCgt:\t.*4...$"
    status = Path(f"/proc/{demo.process.pid}/status")
    eventually(lambda: re.search(caught, status.read_text(), re.MULTILINE), "the demo catches SIGTERM")


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


def check_stopped(demo: Demo, code: int, adopted: Callable[[], list[psutil.Process]]) -> None:
    assert demo.end() == (code, "Stopped; nothing is left running.\n")
    assert adopted() == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_at_any_moment_leaves_nothing_running(
    demo: Start, adopted: Callable[[], list[psutil.Process]], moment: Callable[[Demo], None]
) -> None:
    stopped = demo(CONSUMER_SKETCH_SECONDS="1")
    moment(stopped)
    # A terminal sends it to the whole group.
    os.killpg(stopped.process.pid, signal.SIGINT)
    check_stopped(stopped, 130, adopted)


@pytest.mark.parametrize(
    ("numbers", "code"), [([signal.SIGINT] * 3, 130), ([signal.SIGTERM], 143), ([signal.SIGHUP], 129)]
)
def test_a_signal_to_the_demo_alone_is_enough(
    demo: Start, adopted: Callable[[], list[psutil.Process]], numbers: list[int], code: int
) -> None:
    stopped = demo(CONSUMER_SKETCH_SECONDS="1")
    in_a_picture(stopped)
    for number in numbers:
        stopped.process.send_signal(number)
    check_stopped(stopped, code, adopted)


@pytest.mark.parametrize("moment", [in_initdb, in_migration, as_the_worker_starts, in_a_picture])
def test_killed_at_any_moment_it_takes_everything_with_it(
    demo: Start, adopted: Callable[[], list[psutil.Process]], moment: Callable[[Demo], None]
) -> None:
    killed = demo(CONSUMER_SKETCH_SECONDS="1")
    moment(killed)
    killed.process.kill()
    assert killed.end()[0] == -signal.SIGKILL
    eventually(lambda: not adopted(), "every process of the demo is gone")


def test_a_worker_that_dies_is_told_with_its_log(demo: Start, adopted: Callable[[], list[psutil.Process]]) -> None:
    failing = demo(CONSUMER_SKETCH_SECONDS="1")
    in_a_picture(failing)
    [worker] = [process for process in failing.descendants() if "run" in process.cmdline()]
    worker.kill()
    code, said = failing.end()
    assert code == 1
    assert said.startswith(f"The worker ended too early, with exit code -9. Its log is {failing.directory}/worker.log")
    assert "job.claimed" in said
    assert adopted() == []


def test_what_an_earlier_demo_made_is_replaced_and_nothing_else(demo: Start) -> None:
    first = demo("--jobs", "1", CONSUMER_SKETCH_SECONDS="0")
    assert first.end()[0] == 0
    old = set(first.directory.rglob("*.png"))
    (first.directory / "mine.txt").write_text("mine")
    second = demo("--jobs", "1", CONSUMER_SKETCH_SECONDS="0")
    assert second.end()[0] == 0
    assert set(second.directory.rglob("*.png")) & old == {second.directory / "contact-sheet.png"}
    assert (second.directory / "mine.txt").read_text() == "mine"


def test_a_storage_that_no_demo_made_is_left_alone(demo: Start, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "picture.png").touch()
    assert demo(directory=".").end() == (
        2,
        ". has a storage that no demo made: choose another folder with --directory.\n",
    )
    assert (tmp_path / "storage" / "picture.png").exists()


def test_a_folder_in_use_is_left_to_its_demo(demo: Start) -> None:
    first = demo("--jobs", "1", CONSUMER_SKETCH_SECONDS="1")
    in_a_picture(first)
    assert demo().end() == (2, "Another demo is at work in demo: choose another folder with --directory.\n")
    assert first.end() == (0, "")


@pytest.mark.parametrize("jobs", ["0", "101"])
def test_a_number_of_jobs_out_of_range_is_refused(demo: Start, jobs: str) -> None:
    refused = demo("--jobs", jobs)
    assert refused.end() == (2, "--jobs must be a whole number from 1 to 100.\n")
    assert not refused.directory.exists()


def test_settings_for_a_real_worker_do_not_reach_the_demo(demo: Start, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://nobody@127.0.0.1:1/nothing\nCONSUMER_STORAGE=supabase\n")
    shown = demo(
        "--jobs", "1", CONSUMER_SKETCH_SECONDS="0", CONSUMER_STORAGE="supabase", CONSUMER_LEASE_SECONDS="wrong",
        CONSUMER_LISTEN_URL="postgresql://nobody@127.0.0.1:1/nothing", PGHOST="127.0.0.1", PGPORT="1",
    )  # fmt: skip
    assert shown.end() == (0, "")
    check_files(shown, [(1024, 1024)] * 3)
