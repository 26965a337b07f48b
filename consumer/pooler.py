"""Which way a DSN goes: straight to Postgres, or through a pooler in session or transaction mode."""

import asyncio
from enum import StrEnum
from typing import Any

import psycopg

from consumer.database import DATABASE_URL, Connection, conninfo, refusal
from consumer.errors import DatabaseRefusedError
from consumer.gate import Gate, PasswordRefusedError
from consumer.login import TRANSACTION_PORT, given_by

ROUNDS = 3


class Mode(StrEnum):
    """What becomes of a session: whether LISTEN, SET and prepared statements work."""

    direct = "direct"
    session = "session"
    transaction = "transaction"


def mode(dsn: str, setting: str = DATABASE_URL, seconds: float = 15.0) -> Mode:
    """How `dsn`, the value of `setting`, reaches Postgres: it connects once or twice, unless the port tells.

    Raises DatabaseRefusedError, also when there is no answer within so many seconds."""
    if is_transaction_port(dsn):
        return Mode.transaction
    return asyncio.run(_ask(conninfo(dsn), setting, seconds))


def is_transaction_port(dsn: str) -> bool:
    """Whether the port of `dsn` is that of Supabase's poolers in transaction mode."""
    return str(given_by(conninfo(dsn)).get("port")) == TRANSACTION_PORT


async def is_pooled(connection: Connection) -> bool:
    """Whether something between us and the server answers for it: it makes up the process id that a login returns."""
    return connection.info.backend_pid != await _backend(connection)


async def _ask(info: str, setting: str, seconds: float) -> Mode:
    options: dict[str, Any] = {"gate": Gate(), "setting": setting, "prepare_threshold": None}
    try:
        async with asyncio.timeout(seconds), await Connection.connect(info, **options) as first:
            if not await is_pooled(first):
                return Mode.direct
            async with await Connection.connect(info, **options) as second:
                return Mode.transaction if await _is_shared(first, second) else Mode.session
    except TimeoutError:
        raise DatabaseRefusedError(
            f"The pooler in {setting} gave no two connections within {seconds:.0f} seconds, and a worker needs up to "
            "six: raise its pool size."
        ) from None
    except PasswordRefusedError as error:
        raise DatabaseRefusedError(f"{error} Check {setting}.") from None
    except psycopg.OperationalError as error:
        raise refusal(error, setting) from None


async def _is_shared(first: Connection, second: Connection) -> bool:
    """Whether the backend of `first` changes, or serves `second`: pools give the one used last, or each in turn."""
    backends = {await _backend(first), await _backend(first)}
    for _ in range(ROUNDS):
        async with second.transaction():
            if await _backend(second) in backends:
                return True
            backends.add(await _backend(first))
    return len(backends) > 1


async def _backend(connection: Connection) -> int:
    cursor = await connection.execute("select pg_backend_pid() as backend")
    row = await cursor.fetchone()
    assert row
    return int(row["backend"])
