"""Bringing a database to the schema of this version. The worker never does; `consumer migrate` does.

Alembic keeps the order and the version; the SQL itself is in sql/migrations.
"""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import sql
from psycopg.rows import tuple_row
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from consumer import statements, way_back
from consumer.database import check_schema, connect, conninfo, revision_of
from consumer.errors import DatabaseRefusedError, UsageError
from consumer.job import JobType

LOCK = 7_203_451_190
"""Key of the advisory lock that lets one migration run at a time."""

Tell = Callable[[str], None]
"""Called with one sentence as each revision begins: it may wait for a lock for minutes."""


class _Steps:
    """The revisions that a run goes through: each is told as it begins, and named by what then fails."""

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell
        self._names = dict(history())
        self.place = ""

    def at(self, number: str) -> None:
        """What fails from now on has to do with this revision."""
        self.place = f"Revision {number} {self._names[number]}: "

    def begin(self, number: str, direction: str) -> None:
        """Its statements run now."""
        self.at(number)
        if self._tell:
            self._tell(f"{self.place}{direction}.")


def run_statements(number: str, direction: str) -> None:
    """Run one revision's statements one by one; called by the files in migrations/versions."""
    lines, transactional = statements.migration(number, direction)
    context = op.get_context()
    steps = context.config.attributes.get("steps") if context.config else None
    if steps:
        steps.begin(number, direction)
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
            _execute(context.connection, statement)


def _execute(connection: Connection, statement: str) -> None:
    # Without parameters, so that a percent sign in a statement means itself.
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _config(**attributes: Any) -> Config:
    config = Config(output_buffer=attributes.pop("output_buffer", None))
    config.set_main_option("script_location", str(statements.MIGRATIONS))
    config.attributes.update(attributes)
    return config


@contextmanager
def _session(dsn: str, steps: _Steps | None = None) -> Iterator[Connection]:
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
        with engine.connect() as connection, _in_words(steps or _Steps()):
            _lock(connection)
            yield connection
            connection.exec_driver_sql(f"select pg_advisory_unlock({LOCK})")
            connection.commit()


@contextmanager
def _in_words(steps: _Steps) -> Iterator[None]:
    """What the database or Alembic refuses, as one sentence that says where."""
    try:
        yield
    except DBAPIError as error:
        said = error.orig.diag if isinstance(error.orig, psycopg.Error) else None
        words = [said.message_primary, said.message_detail] if said else []
        sentences = [word.rstrip(".") + "." for word in words if word] or [str(error.orig)]
        raise DatabaseRefusedError(steps.place + " ".join(sentences)) from error
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


def upgrade(dsn: str, revision: str = "head", tell: Tell | None = None) -> None:
    """Migrate up to `revision`; the connection's role must own the tables or be allowed to create them."""
    steps = _Steps(tell)
    with _session(dsn, steps) as connection:
        command.upgrade(_config(connection=connection, steps=steps), revision)


def downgrade(dsn: str, revision: str, tell: Tell | None = None) -> None:
    """Migrate down to `revision` (`base` for nothing at all), or refuse before anything is undone."""
    steps = _Steps(tell)
    numbers = [number for number, _ in history()]
    target = "" if revision == "base" else revision
    with _session(dsn, steps) as connection:
        context = MigrationContext.configure(connection, opts={"version_table_schema": "consumer"})
        recorded = context.get_current_revision()
        undone = way_back.undone(recorded, target, numbers)
        _try(connection, steps, undone)
        unfinished = way_back.unfinished(recorded, numbers)
        if unfinished and unfinished in undone:
            _undo_unfinished(connection, steps, unfinished)
        command.downgrade(_config(connection=connection, steps=steps), revision)
        if not target:
            _execute(connection, way_back.SCHEMA)
            connection.commit()


def _try(connection: Connection, steps: _Steps, numbers: Iterable[str]) -> None:
    """Raise what would stop the way back through these revisions; nothing of it stays."""
    connection.rollback()
    for setting in ("lock_timeout = '5s'", "statement_timeout = 0"):
        _execute(connection, f"set local {setting}")
    for number in numbers:
        steps.at(number)
        for statement in way_back.tried_first(number):
            _execute(connection, statement)
        _execute(connection, "set constraints all immediate")
    connection.rollback()


def _undo_unfinished(connection: Connection, steps: _Steps, number: str) -> None:
    """Take back what there is of a revision that is not recorded, as its way up was interrupted."""
    steps.begin(number, "down")
    lines, transactional = statements.migration(number, "down")
    connection.execution_options(isolation_level="READ COMMITTED" if transactional else "AUTOCOMMIT")
    for statement in lines:
        _execute(connection, statement)
    connection.commit()
    connection.execution_options(isolation_level="READ COMMITTED")


def offline_sql(span: str = "head", direction: str = "up") -> str:
    """The SQL of the revisions as text; `span` is a revision, or `FROM:TO`."""
    buffer = io.StringIO()
    run = command.upgrade if direction == "up" else command.downgrade
    run(_config(output_buffer=buffer), span, sql=True)
    if direction == "down" and span.endswith(":base"):
        buffer.write(f"{way_back.SCHEMA};\n")
    return buffer.getvalue()


def broadcast(dsn: str, direction: str) -> None:
    """Turn Broadcast on (`up`) or off (`down`); twice is once. Raises SchemaTooOldError."""
    with connect(dsn) as connection:
        check_schema(connection)
    with _session(dsn) as connection:
        for statement in statements.split(statements.optional("broadcast", direction)):
            _execute(connection, statement)
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
