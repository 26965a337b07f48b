"""Commands in tests: run in this process, with the settings of the test alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command, Outcome
from postgres import Database
from workers import OURS, Site

from consumer.cli import main


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
