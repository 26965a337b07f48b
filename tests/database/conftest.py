"""The database at each of its revisions; and the rows of a job, with a worker to change them.

The tests of one file share a database and a pool, and find them empty; one that changes the schema has its own.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.rows import dict_row

from consumer import migrate
from consumer.database import Database as Pool
from jobs import Hands, Jobs
from postgres import Database, Databases
from stages import Stage, state
from steps import Open, Transaction

EMPTY = """
delete from public.jobs; delete from public.images; delete from public.videos;
delete from auth.users; delete from consumer.workers; delete from consumer.user_limits;
delete from consumer.user_tags;
"""


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
def own_db(databases: Databases) -> Iterator[Database]:
    """A migrated database for one test alone."""
    with databases.clone(databases.migrated) as db:
        yield db


@pytest.fixture(scope="module")
def shared_db(databases: Databases) -> Iterator[Database]:
    with databases.clone(databases.migrated) as db:
        yield db


@pytest.fixture
def db(shared_db: Database) -> Iterator[Database]:
    """A migrated database without jobs, users or workers."""
    with psycopg.connect(shared_db.admin_dsn) as connection:
        connection.execute(EMPTY)
    db = Database(shared_db.name, shared_db.admin_dsn)
    with db._opened:
        yield db


@pytest.fixture
def jobs(db: Database) -> Jobs:
    """The rows of the test's database, and a user to own them."""
    return Jobs(db)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def pool(shared_db: Database, runner: asyncio.Runner) -> Iterator[Pool]:
    pool = Pool(shared_db.dsn)
    runner.run(pool.open())
    yield pool
    runner.run(pool.close())


@pytest.fixture
def worker(db: Database, pool: Pool, runner: asyncio.Runner) -> Hands:
    """A worker whose every statement is a step of the test."""
    return Hands(runner, pool)


@pytest.fixture
def begin(db: Database, runner: asyncio.Runner, worker: Hands) -> Iterator[Callable[..., Open]]:
    """Opens a transaction, of the worker or of an application, that stays open until it is committed."""
    opened = []

    def begin(autocommit: bool = False) -> Open:
        connecting = psycopg.AsyncConnection.connect(db.dsn, autocommit=autocommit, row_factory=dict_row)
        opened.append(runner.run(connecting))
        return Open(runner, Transaction(opened[-1]), worker.id)

    yield begin
    for connection in opened:
        runner.run(connection.close())
