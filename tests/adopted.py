"""The platform's own database, generation A, with real-life rows in it, before and after we moved in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from postgres import Database, Databases, migrate

PLATFORM = Path(__file__).parent / "database" / "generation_a.sql"
TABLES = ("jobs", "videos", "images")
USER = UUID("00000000-0000-4000-8000-000000000001")
"""Who has been there for long; the other one ends in 2."""


def key(table: str, number: int) -> UUID:
    """The id of one of the platform's rows."""
    return UUID(f"{TABLES.index(table) + 1}0000000-0000-4000-8000-{number:012}")


@contextmanager
def platform(databases: Databases) -> Iterator[Database]:
    """The platform's database, without our migrations."""
    with databases.clone(databases.dressed) as db:
        with db.connect() as connection:
            connection.execute(PLATFORM.read_bytes())
        yield db


@contextmanager
def adopted(databases: Databases) -> Iterator[Database]:
    """The same with our migrations and the built-in job types."""
    with platform(databases) as db:
        migrate(db.dsn)
        yield db
