"""Connections to Postgres, and running what is in sql/queries on them."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from consumer import events
from consumer.errors import DatabaseRefusedError, SchemaTooOldError
from consumer.statements import HEAD, query

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction, PoolTimeout)
"""What a database that is gone, restarting, failing over or overloaded answers: it passes."""

RECONNECT_SECONDS = 1.0
"""After so long a pool starts its tries anew; left alone it makes ever longer pauses, and notices late that an outage
is over."""

KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


def conninfo(dsn: str) -> str:
    """`dsn` with the settings that notice a dead peer; what `dsn` says itself wins."""
    try:
        given = {key: value for key, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        raise DatabaseRefusedError(
            "The database URL cannot be read; it should look like postgresql://user:password@host:5432/postgres."
        ) from None
    return make_conninfo("", **{"connect_timeout": 10, "application_name": "consumer", **KEEPALIVES, **given})


def refusal(error: psycopg.Error) -> DatabaseRefusedError:
    """A sentence out of the driver's words: its last reason, without addresses or secrets."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    for mark in ("FATAL:", "failed:", "error:"):
        reason = reason.rsplit(mark, 1)[-1].strip()
    return DatabaseRefusedError(f"The database refused the connection: {reason}. Check DATABASE_URL.")


def connect(dsn: str) -> psycopg.Connection[dict[str, Any]]:
    """One connection in autocommit, for commands; raises DatabaseRefusedError."""
    try:
        return psycopg.connect(conninfo(dsn), autocommit=True, row_factory=dict_row)
    except psycopg.OperationalError as error:
        raise refusal(error) from None


def revision_of(connection: psycopg.Connection[dict[str, Any]]) -> str | None:
    """The revision that the database is at; None where it was never migrated."""
    try:
        row = connection.execute(query("revision")).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    return row["version_num"] if row else None


def check_schema(connection: psycopg.Connection[dict[str, Any]]) -> None:
    """Raise SchemaTooOldError unless the database has every revision that this version needs."""
    try:
        revision = revision_of(connection)
    except psycopg.errors.InsufficientPrivilege:
        raise DatabaseRefusedError(
            "The role in DATABASE_URL may not read the schema consumer: use the one that ran `consumer migrate up`."
        ) from None
    if revision is None or revision < HEAD:
        raise SchemaTooOldError(
            f"The database is at revision {revision or 'none'}, and this version needs {HEAD}: "
            "run `consumer migrate up`."
        )


class Database:
    """A few pooled connections in autocommit: every statement is its own transaction."""

    def __init__(self, dsn: str, size: int = 4) -> None:
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self.pool: AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]] = AsyncConnectionPool(
            conninfo(dsn), min_size=1, max_size=size, open=False, timeout=10, reconnect_timeout=RECONNECT_SECONDS,
            kwargs={"autocommit": True, "row_factory": dict_row},
        )  # fmt: skip

    async def open(self) -> None:
        """Connect; raises DatabaseRefusedError when it cannot be done now."""
        try:
            await self.pool.open(wait=True, timeout=10)
        except PoolTimeout:
            raise DatabaseRefusedError("The database did not answer within 10 seconds. Check DATABASE_URL.") from None

    async def close(self) -> None:
        """Let go of every connection."""
        await self.pool.close()

    async def run(self, name: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[dict[str, Any]]:
        """The rows of sql/queries/{name}.sql, run once."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(query(name), parameters)
            return await cursor.fetchall() if cursor.description else []

    async def surely(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a statement that may be repeated, tried until the database is there again."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(AWAY),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            before_sleep=lambda state: events.emit("database.away", statement=name, tries=state.attempt_number),
            reraise=True,
        ):
            with attempt:
                return await self.run(name, parameters)
        raise AssertionError("tenacity retries without end")
