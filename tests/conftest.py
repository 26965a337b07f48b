"""The databases of the tests: a real Postgres, migrated once into a template and cloned for each test."""

import os
from collections.abc import Iterator

import pytest

from consumer import embedded
from postgres import Database, Databases


@pytest.fixture(scope="session")
def server() -> Iterator[embedded.Server]:
    """This test process's own private Postgres: 16, or the version in PG. It is shared: none may stop it."""
    # No disk is waited for. synchronous_commit stays on: logical decoding sees only what has been flushed.
    settings = {"fsync": "off", "full_page_writes": "off"}
    with embedded.start(int(os.environ.get("PG", "16")), settings=settings) as server:
        yield server


@pytest.fixture(scope="session")
def admin_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A superuser's address: TEST_DATABASE_URL, or of a container of TEST_CONTAINER_IMAGE, or of the private server."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
    elif image := os.environ.get("TEST_CONTAINER_IMAGE"):
        from containers import postgres_in

        with postgres_in(image) as url:
            yield url
    else:
        yield request.getfixturevalue("server").dsn(user="supabase_admin")


@pytest.fixture(scope="session")
def databases(admin_url: str) -> Iterator[Databases]:
    """The databases of the server of these tests."""
    databases = Databases(admin_url)
    yield databases
    databases.drop_all()


@pytest.fixture
def dressed_db(databases: Databases) -> Iterator[Database]:
    """A database like that of a fresh Supabase project, without our migrations."""
    with databases.clone(databases.dressed) as database:
        yield database


@pytest.fixture
def db(databases: Databases) -> Iterator[Database]:
    """A migrated database."""
    with databases.clone(databases.migrated) as database:
        yield database
