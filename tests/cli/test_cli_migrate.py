"""`consumer migrate`: up, down, status, and the SQL of it all."""

import json

import pytest

from commands import Command
from consumer.job_types import load
from consumer.statements import HEAD
from postgres import Database
from schema_picture import picture, run_program


@pytest.fixture
def bare_database(consumer: Command, dressed_db: Database, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `consumer` against a Supabase database that has nothing of ours."""
    monkeypatch.setenv("DATABASE_URL", dressed_db.dsn)
    return consumer


def pushed(db: Database) -> set[str]:
    return {name for (name,) in db.connect().execute("select job_type from consumer.job_types")}


def test_up_writes_the_job_types_and_status_tells_where_it_is(bare_database: Command, dressed_db: Database) -> None:
    before = json.loads(bare_database("migrate", "status", "--json").out)
    assert (before["current"], before["missing"][0], before["head"]) == (None, "0001", HEAD)
    up = bare_database("migrate", "up")
    assert (up.code, up.out) == (0, f"At revision {HEAD}, with {len(load())} job types.\n")
    assert json.loads(bare_database("migrate", "status", "--json").out)["missing"] == []
    assert pushed(dressed_db) == set(load())


def test_the_printed_sql_has_the_same_effect_as_up(consumer: Command, db: Database, dressed_db: Database) -> None:
    printed = consumer("migrate", "sql")
    run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", dressed_db.dsn, stdin=printed.out)
    assert picture(dressed_db.dsn) == picture(db.dsn)
    assert pushed(dressed_db) == pushed(db)


def test_down_and_up_again_to_a_revision(connected: Command) -> None:
    assert connected("migrate", "down", "0007").out == "At revision 0007.\n"
    assert connected("migrate", "up", "0009").out == "At revision 0009.\n"
    assert connected("migrate", "down", "base").out == "At revision base.\n"


@pytest.mark.parametrize("action", [("up", "0042"), ("down", "0042"), ("sql", "--down", "0042")])
def test_a_revision_that_there_is_not_is_a_sentence(connected: Command, action: tuple[str, ...]) -> None:
    refused = connected("migrate", *action)
    assert refused.code == 2
    assert refused.err == f"There is no revision 0042; the newest is {HEAD}. See `consumer migrate status`.\n"
