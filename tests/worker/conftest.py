"""A site for each test: its database, its storage, its worker processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import Database
from user_jobs import UserJobs
from workers import Site


@pytest.fixture
def jobs(db: Database) -> UserJobs:
    """A user of the test's database, and the jobs there."""
    return UserJobs(db)


@pytest.fixture
def site(db: Database, tmp_path: Path) -> Iterator[Site]:
    """The test's database and a storage folder; its workers are killed at the end."""
    site = Site(db.dsn, tmp_path)
    yield site
    site.close()
