"""`consumer migrate`: up, down, status, and the SQL of it all."""

import json
from pathlib import Path

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
    up = connected("migrate", "up", "0009")
    assert up.out == "At revision 0009.\n"
    assert up.err == "Revision 0008 notify: up.\nRevision 0009 rights: up.\n"
    down = connected("migrate", "down", "0008")
    assert (down.out, down.err) == ("At revision 0008.\n", "Revision 0009 rights: down.\n")
    assert connected("migrate", "down", "base").out == "At revision base.\n"


@pytest.mark.parametrize("action", [("up", "0042"), ("down", "0042"), ("sql", "--down", "0042")])
def test_a_revision_that_there_is_not_is_a_sentence(connected: Command, action: tuple[str, ...]) -> None:
    refused = connected("migrate", *action)
    assert refused.code == 2
    assert refused.err == f"There is no revision 0042; the newest is {HEAD}. See `consumer migrate status`.\n"


@pytest.fixture
def folder(bare: Path) -> Path:
    """Where the Supabase CLI looks."""
    folder = bare / "supabase" / "migrations"
    folder.mkdir(parents=True)
    return folder


def test_export_prints_one_line_per_file_without_a_database(consumer: Command, folder: Path) -> None:
    first = consumer("migrate", "export")
    names = sorted(path.name for path in folder.iterdir())
    assert names[-1].endswith("_consumer_job_types.sql")
    assert (first.code, first.out.splitlines()) == (0, [f"written  {name}" for name in names])
    again = consumer("migrate", "export")
    assert again.out.splitlines() == [f"there    {name}" for name in names]


def test_export_tells_scripts_the_same(consumer: Command, folder: Path) -> None:
    consumer("migrate", "export", "--to", folder)
    out = consumer("migrate", "export", "--to", folder, "--broadcast", "--json").out
    told = [json.loads(line) for line in out.splitlines()]
    assert [line["file"] for line in told if line["written"]] == [
        path.name for path in folder.iterdir() if path.name.endswith("_consumer_broadcast.sql")
    ]
    assert {line["file"] for line in told} == {path.name for path in folder.iterdir()}


def test_export_makes_its_folder_where_that_of_the_project_is(consumer: Command, bare: Path) -> None:
    (bare / "supabase").mkdir()
    written = consumer("migrate", "export")
    assert (written.code, len(written.out.splitlines())) == (0, len(list((bare / "supabase/migrations").iterdir())))
    assert written.out.startswith("written  ")


def test_export_makes_no_folder_of_another_name(consumer: Command, bare: Path) -> None:
    (bare / "supabase").mkdir()
    refused = consumer("migrate", "export", "--to", "supabase/migration")
    assert (refused.code, list((bare / "supabase").iterdir())) == (2, [])


def test_export_without_a_folder_is_a_sentence(consumer: Command, bare: Path) -> None:
    refused = consumer("migrate", "export")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "There is no folder supabase/migrations to write to: make it, or name another one with --to.\n"
    )


def test_broadcast_is_turned_on_and_off(connected: Command, db: Database) -> None:
    there = "select count(*) from pg_trigger where tgname ~ '^consumer_broadcast_'"
    on = connected("migrate", "broadcast")
    assert on.out == "Broadcast is on: private topics user:{user_id}, events job, image, video.\n"
    assert db.connect().execute(there).fetchone() == (6,)
    assert connected("migrate", "broadcast", "--off").out == "Broadcast is off.\n"
    assert db.connect().execute(there).fetchone() == (0,)


def test_the_sql_of_broadcast_is_printed_without_a_database(consumer: Command) -> None:
    assert "create policy consumer_read_own_topic" in consumer("migrate", "broadcast", "--sql").out
    assert "drop function if exists consumer.broadcast()" in consumer("migrate", "broadcast", "--off", "--sql").out


def test_broadcast_asks_for_the_newest_revision_first(bare_database: Command) -> None:
    refused = bare_database("migrate", "broadcast")
    assert refused.code == 4
    assert refused.err == (
        f"The database is at revision none, and this version needs {HEAD}: run `consumer migrate up`.\n"
    )
