"""Bringing a database to the schema of this version. The worker never does; `consumer migrate` does.

Alembic keeps the order and the version; the SQL itself is in sql/migrations.
"""

import io
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import sql
from psycopg.rows import tuple_row
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from consumer import statements
from consumer.database import check_schema, connect, conninfo, revision_of
from consumer.errors import DatabaseRefusedError, UsageError
from consumer.job import JobType

LOCK = 7_203_451_190
"""Key of the advisory lock that lets one migration run at a time."""


def run_statements(number: str, direction: str) -> None:
    """Run one revision's statements one by one; called by the files in migrations/versions."""
    lines, transactional = statements.migration(number, direction)
    context = op.get_context()
    if transactional:
        _run(context, lines)
    else:
        with context.autocommit_block():
            _run(context, lines)


def _run(context: Any, lines: list[str]) -> None:
    for statement in lines:
        if context.as_sql:
            context.impl.static_output(f"{statement};\n")
        else:
            # Without parameters, so that a percent sign in a statement means itself.
            context.connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _config(**attributes: Any) -> Config:
    config = Config(output_buffer=attributes.pop("output_buffer", None))
    config.set_main_option("script_location", str(statements.MIGRATIONS))
    config.attributes.update(attributes)
    return config


@contextmanager
def _session(dsn: str) -> Iterator[Connection]:
    """One connection for all revisions, alone in this database; refuses a pooler in transaction mode."""
    if "6543" in str(psycopg.conninfo.conninfo_to_dict(conninfo(dsn)).get("port")).split(","):
        raise UsageError(
            "Port 6543 is a pooler in transaction mode, which cannot run migrations: use the direct connection "
            "or the session pooler (port 5432)."
        )
    with connect(dsn) as psycopg_connection:
        psycopg_connection.autocommit = False
        psycopg_connection.row_factory = tuple_row  # type: ignore[assignment]  # what SQLAlchemy expects
        engine = create_engine("postgresql+psycopg://", poolclass=NullPool, creator=lambda: psycopg_connection)
        with engine.connect() as connection, _in_words():
            _lock(connection)
            yield connection
            connection.exec_driver_sql(f"select pg_advisory_unlock({LOCK})")
            connection.commit()


@contextmanager
def _in_words() -> Iterator[None]:
    """What the database or Alembic refuses, as one sentence."""
    try:
        yield
    except DBAPIError as error:
        said = error.orig.diag if isinstance(error.orig, psycopg.Error) else None
        words = [said.message_primary, said.message_detail] if said else []
        sentences = [word.rstrip(".") + "." for word in words if word] or [str(error.orig)]
        raise DatabaseRefusedError(" ".join(sentences)) from error
    except CommandError as error:
        raise UsageError(f"{str(error).rstrip('.')}.") from None


def _lock(connection: Connection, patience: float = 120.0) -> None:
    # Tried again and again, never waited for: a waiting statement holds a snapshot that CONCURRENTLY waits for.
    deadline = time.monotonic() + patience
    while True:
        locked = connection.exec_driver_sql(f"select pg_try_advisory_lock({LOCK})").scalar()
        connection.commit()
        if locked:
            return
        if time.monotonic() > deadline:
            raise DatabaseRefusedError("Another migration has been running on this database for two minutes.")
        time.sleep(0.2)


def upgrade(dsn: str, revision: str = "head") -> None:
    """Migrate up to `revision`; the connection's role must own the tables or be allowed to create them."""
    with _session(dsn) as connection:
        command.upgrade(_config(connection=connection), revision)


def downgrade(dsn: str, revision: str) -> None:
    """Migrate down to `revision` (`base` for nothing at all)."""
    with _session(dsn) as connection:
        command.downgrade(_config(connection=connection), revision)


def offline_sql(span: str = "head", direction: str = "up") -> str:
    """The SQL of the revisions as text; `span` is a revision, or `FROM:TO`."""
    buffer = io.StringIO()
    run = command.upgrade if direction == "up" else command.downgrade
    run(_config(output_buffer=buffer), span, sql=True)
    return buffer.getvalue()


def broadcast(dsn: str, direction: str) -> None:
    """Turn Broadcast on (`up`) or off (`down`); twice is once. Raises SchemaTooOldError."""
    with connect(dsn) as connection:
        check_schema(connection)
    with _session(dsn) as connection:
        for statement in statements.split(statements.optional("broadcast", direction)):
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        connection.commit()


def broadcast_sql(direction: str) -> str:
    """What `broadcast` would run, as text."""
    return f"begin;\n\n{statements.optional('broadcast', direction)}\ncommit;\n"


def job_types_sql(job_types: Iterable[JobType]) -> str:
    """What `push_job_types` would run, as text for review."""
    values = [(t.name, t.engine, str(t.medium), t.count, t.max_count, t.cost) for t in job_types]
    text = statements.query("push_job_type").replace("%s", "{}")
    return "".join(f"{sql.SQL(text).format(*row).as_string()};\n\n" for row in values)


def history() -> list[tuple[str, str]]:
    """Every revision and its name, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [(r.revision, (r.doc or "").split(":")[0]) for r in reversed(list(script.walk_revisions()))]


def current(dsn: str) -> str | None:
    """The revision that the database is at; None where it was never migrated."""
    with connect(dsn) as connection:
        return revision_of(connection)


def push_job_types(dsn: str, job_types: Iterable[JobType]) -> int:
    """Write job types into consumer.job_types, where the triggers read them; returns how many."""
    rows = [(t.name, t.engine, t.medium, t.count, t.max_count, t.cost) for t in job_types]
    with connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(statements.query("push_job_type"), rows)
    return len(rows)
