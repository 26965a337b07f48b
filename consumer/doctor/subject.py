"""What the checks look at: the settings, and what they lead to, opened when a check first asks for it."""

import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from psycopg import sql

from consumer import database
from consumer.database import revision_of
from consumer.doctor import addresses
from consumer.doctor.finding import ImpossibleError, WrongError
from consumer.errors import DatabaseRefusedError
from consumer.settings import Settings
from consumer.statements import HEAD, SQL

T = TypeVar("T")
Connection = psycopg.Connection[dict[str, Any]]
Row = dict[str, Any]

STATEMENT_SECONDS = 5
FIRST_SECONDS = 10.0
NOT_SET = ("DATABASE_URL is not set.", "Set DATABASE_URL in the environment or in .env.")
TABLES = ("public.jobs", "public.images", "public.videos")


class Part(Generic[T]):
    """Something that many checks need. The first check that asks hears why it cannot be had; the others are skipped."""

    def __init__(self, make: Callable[[], T], reason: str) -> None:
        self._make = make
        self._reason = reason
        self._value: T | None = None
        self._failed = False

    def get(self) -> T:
        """The thing itself. Raises WrongError the first time, ImpossibleError afterwards."""
        if self._failed:
            raise ImpossibleError(self._reason)
        if self._value is None:
            # Before it is tried: one that hangs has failed, too.
            self._failed = True
            self._value = self._make()
            self._failed = False
        return self._value

    def forget(self) -> T | None:
        """Make it anew when it is asked for again; returns what it was."""
        value, self._value = self._value, None
        return value


class Subject:
    """The settings, the database and its schema."""

    def __init__(self, settings: Settings, *, quick: bool = False) -> None:
        """`quick` leaves out what takes more than a second or two."""
        self.settings = settings
        self.quick = quick
        self._parts: dict[str, Part[Any]] = {}
        self.work: Part[Connection] = Part(self._connect, "DATABASE_URL leads to no database.")
        self.listen: Part[Connection] = Part(self._listen, "CONSUMER_LISTEN_URL leads to no database.")
        self.schema: Part[str] = Part(self._revision, "The schema is not the one of this version.")

    def part(self, name: str, make: Callable[[], T], reason: str) -> T:
        """What `make` makes, once. Raises what `Part.get` raises, and then `reason`."""
        found: T = self._parts.setdefault(name, Part(make, reason)).get()
        return found

    def _connect(self) -> Connection:
        if self.settings.database_url is None:
            raise WrongError(*NOT_SET)
        return connect(self.settings.database_url.get_secret_value(), "DATABASE_URL")

    def _listen(self) -> Connection:
        return connect(self.listen_dsn, "CONSUMER_LISTEN_URL")

    @property
    def listen_dsn(self) -> str:
        """Where LISTEN goes, secrets included; raises UsageError where no address is set."""
        url = self.settings.listen_url
        return url.get_secret_value() if url else self.settings.require_database_url()

    @property
    def listens_apart(self) -> bool:
        """Whether LISTEN goes another way than the queries."""
        return self.settings.listen_url not in (None, self.settings.database_url)

    def _revision(self) -> str:
        with self.transaction() as connection:
            revision = revision_of(connection)
        if revision is None or revision < HEAD:
            raise WrongError(
                f"The database is at revision {revision or 'none'}, and this version needs {HEAD}.",
                "consumer migrate up",
            )
        return revision

    @contextmanager
    def transaction(self, role: str | None = None) -> Iterator[Connection]:
        """A transaction that only reads, each statement within five seconds; as `role` where that is given.

        All that it sets is over when it ends, so that a pooler hands nothing of it to others."""
        connection = self.work.get()
        with connection.transaction(force_rollback=True):
            connection.execute("set transaction read only")
            connection.execute(sql.SQL("set local statement_timeout = {}").format(STATEMENT_SECONDS * 1000))
            if role:
                connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            yield connection

    def read(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of sql/doctor/{name}.sql."""
        with self.transaction() as connection:
            return connection.execute(statement(name), parameters).fetchall()

    def read_one(self, name: str, parameters: Mapping[str, Any] | None = None) -> Row:
        """The one row of sql/doctor/{name}.sql."""
        [row] = self.read(name, parameters)
        return row

    def created(self) -> set[str]:
        """What the migrations created, by name, as in consumer.created."""
        self.schema.get()
        return {row["object"] for row in self.read("created")}

    def adopted(self) -> list[str]:
        """The tables of ours that the application had before."""
        created = self.created()
        return [table for table in TABLES if table not in created]

    def forget(self) -> list[Connection]:
        """Leave the connections to whoever hangs on them; the next check makes new ones."""
        return [connection for part in (self.work, self.listen) if (connection := part.forget())]

    def close(self) -> None:
        """Let go of everything; what is asked for again is made anew."""
        close(self.forget())


def close(connections: Iterable[Connection]) -> None:
    """Close them, in whatever state they are."""
    for connection in connections:
        with suppress(psycopg.Error):
            connection.close()


@cache
def statement(name: str) -> LiteralString:
    """The text of sql/doctor/{name}.sql."""
    return (SQL / "doctor" / f"{name}.sql").read_text()


def connect(dsn: str, setting: str) -> Connection:
    """One connection in autocommit that prepares nothing; raises WrongError with what `setting` needs."""
    try:
        connection = database.connect(dsn, setting)
    except DatabaseRefusedError as error:
        raise addresses.explained(str(error), dsn, setting) from None
    if not answers(connection):
        connection.pgconn.finish()
        raise WrongError(
            f"{setting} takes the login, and no query is answered within {FIRST_SECONDS:.0f} seconds: the pool of a "
            "pooler is full, or the server is stuck.",
            "End sessions that are not needed, or raise the pooler's pool size.",
        )
    return connection


def answers(connection: Connection) -> bool:
    """Whether a first query is answered in time; a pooler lets one in and then has it wait for a backend."""
    connection.pgconn.send_query(b"select 1")
    connection.pgconn.flush()
    deadline = time.monotonic() + FIRST_SECONDS
    while connection.pgconn.is_busy():
        if not select.select([connection.pgconn.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        connection.pgconn.consume_input()
    while connection.pgconn.get_result():
        pass
    return True
