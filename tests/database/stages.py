"""What there is to compare of a database, before and after a revision."""

from typing import NamedTuple

import psycopg
from psycopg.rows import scalar_row

from consumer import migrate, statements
from postgres import Database
from schema_picture import picture


class State(NamedTuple):
    """What a migration may change: the schema, and what is remembered of it."""

    revision: str
    created: list[str]
    schema: str


def state(db: Database) -> State:
    """How this database stands. The version table and its schema outlive every revision, so they are left out."""
    schema = picture(db.dsn, "-T", "consumer.alembic_version").replace("CREATE SCHEMA consumer;\n\n", "")
    known = "CREATE TABLE consumer.created" in schema
    with psycopg.connect(db.dsn, row_factory=scalar_row) as connection:
        created = connection.execute("select object from consumer.created order by object") if known else None
        return State(migrate.current(db.dsn) or "base", created.fetchall() if created else [], schema)


class Stage(NamedTuple):
    """One revision, and the one before it, as databases that are only looked at and cloned."""

    revision: str
    name: str
    before: Database
    after: Database
    state_before: State
    state_after: State

    def statements(self, direction: str) -> list[str]:
        return statements.migration(self.revision, direction)[0]
