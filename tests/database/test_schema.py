"""sql/schema.sql is what the migrations make, by either route."""

from consumer import migrate
from postgres import Database
from schema_picture import FILE, HEADER, picture, run_program

STALE = "sql/schema.sql is out of date: python tests/schema_picture.py --write"


def test_the_picture_in_the_repository_is_what_the_command_makes(dressed_db: Database) -> None:
    migrate.upgrade(dressed_db.dsn)
    assert FILE.read_text() == HEADER + picture(dressed_db.dsn), STALE


def test_the_picture_in_the_repository_is_what_the_printed_sql_makes(dressed_db: Database) -> None:
    run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", dressed_db.dsn, stdin=migrate.offline_sql())
    assert FILE.read_text() == HEADER + picture(dressed_db.dsn), STALE


def test_an_empty_database_can_be_made_from_the_picture(dressed_db: Database) -> None:
    with dressed_db.connect() as connection:
        connection.execute("set check_function_bodies = off")
        # Roles belong to the server, so the picture has none.
        connection.execute("do $$ begin create role consumer_worker; exception when duplicate_object then null; end $$")
        connection.execute(FILE.read_bytes())
    assert HEADER + picture(dressed_db.dsn) == FILE.read_text()
