"""Connections to Postgres, and running what is in sql/queries on them."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from consumer import events
from consumer.errors import DatabaseRefusedError, SchemaTooOldError
from consumer.gate import Gate, PasswordRefusedError
from consumer.login import conninfo, is_refusal, still, ways
from consumer.statements import HEAD, query
from consumer.tasks import end

__all__ = [
    "AWAY", "SESSION", "Connection", "Database", "check_role", "check_schema", "connect", "conninfo", "refusal",
    "revision_of",
]  # fmt: skip

DATABASE_URL = "DATABASE_URL"

AWAY = (
    psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction, PoolTimeout,
    PasswordRefusedError,
)  # fmt: skip
"""What a database that is gone, restarting, failing over or overloaded answers: it passes."""

LASTING = ("54", "55")
"""Classes of SQLSTATE that the driver calls operational and that do not pass: a limit of the program, a state of an
object. All but a lock that was not to be had."""

CANCEL_SECONDS = 0.5
"""So long a server has to confirm that it stopped a statement, before the connection is given up."""

SESSION = (
    "select set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false), "
    "set_config('jit', 'off', false), set_config('default_transaction_isolation', 'read committed', false)"
)
"""Left to itself, Postgres plans the claim anew each time, which takes longer than to make one. A plan that is kept may
be from when the tables were empty; all our statements find their rows by an index. A small table is read whole all the
same, at a price that makes the server compile the statement each time, where it can. And a statement must see what was
committed while it waited for a lock."""

RECONNECT_SECONDS = 1.0
"""After so long a pool starts its tries anew; left alone it makes ever longer pauses, and notices late that an outage
is over."""


def passes(error: BaseException) -> bool:
    """Whether the same statement may succeed later, just because time goes by."""
    state = (error.sqlstate if isinstance(error, psycopg.Error) else None) or ""
    lasting = state.startswith(LASTING) and not isinstance(error, psycopg.errors.LockNotAvailable)
    return isinstance(error, AWAY) and not lasting


def refusal(error: psycopg.Error, setting: str = DATABASE_URL) -> DatabaseRefusedError:
    """A sentence out of the driver's words: its last reason, without addresses or secrets."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    for mark in ("FATAL:", "failed:", "error:"):
        reason = reason.rsplit(mark, 1)[-1].strip()
    kind = PasswordRefusedError if is_refusal(error) else DatabaseRefusedError
    return kind(f"The database refused the connection: {reason}. Check {setting}.")


def connect(dsn: str, setting: str = DATABASE_URL) -> psycopg.Connection[dict[str, Any]]:
    """One connection in autocommit that prepares nothing, for commands; raises DatabaseRefusedError."""
    info = conninfo(dsn)
    try:
        rest = ways(info)
        while True:
            way = rest.pop(0)
            try:
                return psycopg.connect(info, autocommit=True, prepare_threshold=None, row_factory=dict_row, **way)
            except psycopg.OperationalError as error:
                if not (rest := still(error, way, rest)):
                    raise
    except psycopg.OperationalError as error:
        raise refusal(error, setting) from None


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
            "The role in DATABASE_URL may not read the schema consumer: "
            "use consumer_worker, or the one that ran `consumer migrate up`."
        ) from None
    if revision is None or revision < HEAD:
        raise SchemaTooOldError(
            f"The database is at revision {revision or 'none'}, and this version needs {HEAD}: "
            "run `consumer migrate up`."
        )


def check_role(connection: psycopg.Connection[dict[str, Any]], role: str) -> None:
    """Become `role`; raises DatabaseRefusedError where the role that logs in may not."""
    try:
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege):
        raise DatabaseRefusedError(
            f"The role in DATABASE_URL may not become {role}, which CONSUMER_DATABASE_ROLE names: "
            f"run `grant {role} to` the role that logs in, or clear CONSUMER_DATABASE_ROLE."
        ) from None


class Connection(psycopg.AsyncConnection[dict[str, Any]]):
    """A connection of a worker, which comes through the worker's gate."""

    @classmethod
    async def connect(cls, info: str = "", *, gate: Gate, setting: str, **options: Any) -> Self:  # type: ignore[override]
        """Log in with the address in `setting`. Raises PasswordRefusedError, psycopg.OperationalError."""
        async with gate.knock(setting):
            rest = await asyncio.to_thread(ways, info)
            while True:
                way = rest.pop(0)
                try:
                    return await super().connect(info, autocommit=True, row_factory=dict_row, **{**options, **way})
                except psycopg.OperationalError as error:
                    if rest := still(error, way, rest):
                        continue
                    if is_refusal(error):
                        raise PasswordRefusedError(f"The database refused the password in {setting}.") from None
                    raise


class Database:
    """A few pooled connections in autocommit: every statement is its own transaction."""

    def __init__(
        self,
        dsn: str,
        size: int = 4,
        *,
        prepare: bool = True,
        role: str | None = None,
        gate: Gate | None = None,
        answer_seconds: float = 30.0,
    ) -> None:
        """`prepare` not through a pooler in transaction mode, and no `role` either: SET ROLE would reach others.

        A statement that was not answered for `answer_seconds` is given up, and counts as a database that is away."""
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self.gate = gate or Gate()
        assert prepare or not role
        self.role = role
        self.answer_seconds = answer_seconds
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo(dsn), connection_class=Connection, min_size=1, max_size=size, open=False, timeout=10,
            reconnect_timeout=RECONNECT_SECONDS, configure=self._dress if prepare else None,
            kwargs={"gate": self.gate, "setting": DATABASE_URL, "prepare_threshold": 5 if prepare else None},
        )  # fmt: skip

    async def _dress(self, connection: Connection) -> None:
        try:
            await self._answer(connection, SESSION, ())
            if self.role:
                become = sql.SQL("set role {}").format(sql.Identifier(self.role)).as_string(connection)
                await self._answer(connection, become, ())
        except BaseException:
            # The pool lets go of it without a word to the server.
            await connection.close()
            raise

    async def open(self) -> None:
        """Connect; raises DatabaseRefusedError when it cannot be done now."""
        try:
            await self.pool.open(wait=True, timeout=10)
        except PoolTimeout:
            raise DatabaseRefusedError("The database did not answer within 10 seconds. Check DATABASE_URL.") from None

    async def close(self) -> None:
        """Let go of every connection."""
        await self.pool.close()

    async def run(
        self, name: str, parameters: Mapping[str, Any] | Sequence[Any], limit: int = 1
    ) -> list[dict[str, Any]]:
        """The rows of sql/queries/{name}.sql, run once; with `limit` in it where it has one."""
        async with self.pool.connection() as connection:
            try:
                return await self._answer(connection, query(name, limit), parameters)
            except TimeoutError:
                # A pooler can lose the server and keep the client, whose connections then look well for ever.
                await self.pool.drain()
                raise psycopg.OperationalError("There was no answer.") from None
            except psycopg.errors.InternalError_ as error:
                if connection.broken:
                    # Not Postgres in trouble, but a pooler that got no connection to it.
                    raise psycopg.OperationalError("The pooler gave up this connection.") from error
                raise

    async def _answer(
        self, connection: Connection, statement: str, parameters: Mapping[str, Any] | Sequence[Any]
    ) -> list[dict[str, Any]]:
        """The rows of a statement. Raises TimeoutError; who is cancelled is so within a moment."""
        working = asyncio.create_task(fetch(connection, statement, parameters))
        try:
            done, _ = await asyncio.wait({working}, timeout=self.answer_seconds)
            if not done:
                raise TimeoutError
            return working.result()
        finally:
            if not working.done():
                # psycopg first asks the server to stop, for up to ten seconds, which a dead connection takes in full.
                timer = asyncio.get_running_loop().call_later(CANCEL_SECONDS, hang_up, connection)
                await end(working)
                timer.cancel()

    async def surely(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a statement that may be repeated, tried until the database is there again."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(passes),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            before_sleep=lambda state: events.emit("database.away", statement=name, tries=state.attempt_number),
            reraise=True,
        ):
            with attempt:
                return await self.run(name, parameters)
        raise AssertionError("tenacity retries without end")


async def fetch(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | Sequence[Any]
) -> list[dict[str, Any]]:
    """The rows of a statement, if it has any."""
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall() if cursor.description else []


def hang_up(connection: Connection) -> None:
    """End a connection whose server does not answer: whoever waits there learns it at once."""
    if not connection.closed:
        with socket.socket(fileno=os.dup(connection.fileno())) as line, suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
