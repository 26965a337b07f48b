"""Commands in tests: run in this process with the settings of the test alone; demos as processes of their own."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from commands import Command, Outcome
from consumer.cli import main
from demos import Demo, Living, Start
from postgres import Database
from workers import OURS, Site

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no setting of ours."""
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def consumer(bare: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `consumer` with these arguments."""

    def run(*argv: object) -> Outcome:
        capsys.readouterr()
        code = main([str(arg) for arg in argv])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def connected(consumer: Command, db: Database, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `consumer` against the test's migrated database, as its operator."""
    monkeypatch.setenv("DATABASE_URL", db.dsn)
    return consumer


@pytest.fixture
def site(db: Database, bare: Path) -> Iterator[Site]:
    """A place for workers on the test's database."""
    site = Site(db.dsn, bare)
    yield site
    site.close()


@pytest.fixture
def adopted() -> Iterator[Living]:
    """What has outlived the process that started it: orphans become children of this process, and are seen here."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent died")
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
