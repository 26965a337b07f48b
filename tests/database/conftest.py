"""The database at each of its revisions, and the rows of a job."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from jobs import Hands, Jobs
from postgres import Database, Databases
from stages import Stage, state

from consumer import migrate
from consumer.database import Database as Pool


@pytest.fixture(scope="session")
def stages(databases: Databases) -> Iterator[dict[str, Stage]]:
    """Every revision by its number."""
    with ExitStack() as stack:
        before = stack.enter_context(databases.clone(databases.dressed))
        state_before, stages = state(before), {}
        for number, name in migrate.history():
            after = stack.enter_context(databases.clone(before.name))
            migrate.upgrade(after.dsn, number)
            stages[number] = Stage(number, name, before, after, state_before, state(after))
            before, state_before = after, stages[number].state_after
        yield stages


@pytest.fixture(params=[number for number, _ in migrate.history()])
def stage(request: pytest.FixtureRequest, stages: dict[str, Stage]) -> Stage:
    return stages[request.param]


@pytest.fixture
def jobs(db: Database) -> Jobs:
    """The rows of the test's database, and a user to own them."""
    return Jobs(db)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def worker(db: Database, runner: asyncio.Runner) -> Iterator[Hands]:
    """A worker whose every statement is a step of the test."""
    database = Pool(db.dsn)
    runner.run(database.open())
    yield Hands(runner, database)
    runner.run(database.close())
