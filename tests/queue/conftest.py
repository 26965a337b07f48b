"""Jobs, and the hands of workers. The tests of one file share a database and a pool, and find them empty."""

import asyncio
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.rows import dict_row

from consumer.database import Database
from consumer.job import Job
from consumer.lease import Lease, Leases, Trust
from jobs import Hands, Jobs
from postgres import Database as TestDatabase
from postgres import Databases
from steps import Open, Transaction

EMPTY = """
delete from public.jobs; delete from public.images; delete from public.videos;
delete from auth.users; delete from consumer.workers; delete from consumer.user_limits;
delete from consumer.user_tags;
"""


@pytest.fixture(scope="module")
def shared_db(databases: Databases) -> Iterator[TestDatabase]:
    with databases.clone(databases.migrated) as db:
        yield db


@pytest.fixture
def db(shared_db: TestDatabase) -> Iterator[TestDatabase]:
    """A migrated database without jobs, users or workers."""
    with psycopg.connect(shared_db.admin_dsn) as connection:
        connection.execute(EMPTY)
    db = TestDatabase(shared_db.name, shared_db.admin_dsn)
    with db._opened:
        yield db


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def database(shared_db: TestDatabase, runner: asyncio.Runner) -> Iterator[Database]:
    database = Database(shared_db.dsn)
    runner.run(database.open())
    yield database
    runner.run(database.close())


@pytest.fixture
def jobs(db: TestDatabase) -> Jobs:
    return Jobs(db)


@pytest.fixture
def worker(db: TestDatabase, runner: asyncio.Runner, database: Database) -> Hands:
    return Hands(runner, database)


@pytest.fixture
def other(runner: asyncio.Runner, database: Database) -> Hands:
    """Another worker on the same database."""
    return Hands(runner, database)


@pytest.fixture
def begin(db: TestDatabase, runner: asyncio.Runner) -> Iterator[Callable[..., Open]]:
    """Opens a transaction for a worker; with autocommit each statement is one, as in production."""
    opened = []

    def begin(hands: Hands, autocommit: bool = False) -> Open:
        connecting = psycopg.AsyncConnection.connect(db.dsn, autocommit=autocommit, row_factory=dict_row)
        connection = runner.run(connecting)
        opened.append(connection)
        return Open(runner, Transaction(connection), hands.id, hands.queue.max_attempts)

    yield begin
    for connection in opened:
        runner.run(connection.close())


@pytest.fixture
def started(jobs: Jobs, worker: Hands) -> Job:
    """A job of three images in hand: 0 is recorded, 1 is under way, 2 has not begun."""
    jobs.add(count=3)
    job = worker.take()
    worker.record(job, 0)
    worker.progress(job, 40, {1: 20})
    return job


class Clock:
    """Stands in for the module `time`, and goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of leases and of the rescuer."""
    clock = Clock()
    monkeypatch.setattr("consumer.lease.time", clock)
    monkeypatch.setattr("consumer.rescue.time", clock)
    return clock


@pytest.fixture
def trust(clock: Clock) -> Trust:
    """A lease of 45 seconds, and uploads of at most 20."""
    return Trust(45, 20)


@pytest.fixture
def leases(worker: Hands, trust: Trust) -> Leases:
    return Leases(worker.queue, "a worker", ("sketch",), 45.0, trust)


@pytest.fixture
def lease(jobs: Jobs, worker: Hands, leases: Leases) -> Lease:
    """A job in the worker's hands."""
    jobs.add()
    return leases.add(worker.take())
