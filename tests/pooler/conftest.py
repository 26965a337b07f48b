"""Sites behind a real PgBouncer, which these tests need and say so."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from consumer import embedded
from pgbouncer import PgBouncer, Pooled, program
from postgres import Database, migrate
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


@pytest.fixture
def pooled() -> Iterator[Pooled]:
    """Starts a PgBouncer: `pooled(dsn, mode, **settings)`."""
    if program() is None:
        missing = "PgBouncer is not installed: apt-get install pgbouncer"
        if os.environ.get("CONSUMER_TEST_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with ExitStack() as stack:

        def start(dsn: str, mode: str, **settings: Any) -> PgBouncer:
            pooler = PgBouncer(dsn, mode, **settings)
            stack.callback(pooler.close)
            pooler.start()
            return pooler

        yield start


@pytest.fixture
def own_server() -> Iterator[embedded.Server]:
    """A server that this test may stop."""
    with embedded.start(settings={"fsync": "off", "full_page_writes": "off"}) as server:
        migrate(server.dsn())
        yield server
