"""The same DDL as files for the Supabase CLI, which runs each file as one transaction: all three routes end alike."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumer import job_types, migrate, statements
from consumer.errors import UsageError
from consumer.export import File, export
from postgres import Database, Databases
from postgres import migrate as bring_up
from schema_picture import picture, run_program

Run = Callable[[psycopg.Connection[Any], str], None]
WORLDS = ("empty", "generation_a", "generation_b")
SETTINGS = "select name, setting from pg_settings where name ~ '_timeout$|^search_path$' order by name"
TABLES = """
select oid::regclass::text from pg_class
where relkind = 'r' and relnamespace in ('public'::regnamespace, 'consumer'::regnamespace) order by 1
"""


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Database]:
    """A database before us: a new project, or one of the platform's; to be cloned."""
    with databases.clone(databases.dressed) as db:
        if request.param != "empty":
            with db.connect() as connection:
                connection.execute(Path(__file__).with_name(f"{request.param}.sql").read_bytes())
        yield db


@pytest.fixture(scope="module")
def by_up(world: Database, databases: Databases) -> Iterator[Database]:
    with databases.clone(world.name) as db:
        bring_up(db.dsn)
        yield db


@pytest.fixture
def db(world: Database, databases: Databases) -> Iterator[Database]:
    with databases.clone(world.name) as db:
        yield db


@pytest.fixture
def empty(databases: Databases) -> Iterator[Database]:
    with databases.clone(databases.dressed) as db:
        yield db


def as_one_message(connection: psycopg.Connection[Any], text: str) -> None:
    connection.execute(text.encode())


def as_pipeline(connection: psycopg.Connection[Any], text: str) -> None:
    """Statement by statement, with one commit at the end: what the CLI does."""
    with connection.pipeline():
        for statement in statements.split(text):
            connection.execute(statement.encode())


def written(folder: Path, **options: bool) -> list[File]:
    return list(export(folder, job_types.load().values(), **options))


def push(db: Database, folder: Path, run: Run = as_one_message, after: str = "") -> None:
    """Run the files later than `after` in the order of their names on one connection, as the CLI does."""
    with db.connect() as connection:
        for path in sorted(folder.iterdir()):
            if path.name > after:
                run(connection, path.read_text())


def rows(db: Database) -> dict[str, Any]:
    """How many rows each table has."""
    with db.connect() as connection:
        tables = [table for (table,) in connection.execute(TABLES.encode()).fetchall()]
        return {table: connection.execute(f"select count(*) from {table}".encode()).fetchone() for table in tables}


# One schema by three routes.


@pytest.mark.parametrize("run", [as_one_message, as_pipeline])
def test_the_files_have_the_same_effect_as_up_which_then_finds_nothing_to_do(
    db: Database, by_up: Database, tmp_path: Path, run: Run
) -> None:
    written(tmp_path)
    push(db, tmp_path, run)
    assert picture(db.dsn) == picture(by_up.dsn)
    assert rows(db) == rows(by_up)
    assert migrate.current(db.dsn) == statements.HEAD
    bring_up(db.dsn)
    assert picture(db.dsn) == picture(by_up.dsn)


def test_the_printed_sql_has_the_same_effect_as_up_which_then_finds_nothing_to_do(
    db: Database, by_up: Database
) -> None:
    printed = migrate.offline_sql() + migrate.job_types_sql(job_types.load().values())
    run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", db.dsn, stdin=printed)
    assert picture(db.dsn) == picture(by_up.dsn)
    assert rows(db) == rows(by_up)
    bring_up(db.dsn)
    assert picture(db.dsn) == picture(by_up.dsn)


def test_the_way_back_is_the_same_after_the_files(db: Database, world: Database, tmp_path: Path) -> None:
    written(tmp_path)
    push(db, tmp_path)
    migrate.downgrade(db.dsn, "base")
    assert picture(db.dsn, "-N", "consumer") == picture(world.dsn, "-N", "consumer")


def test_no_setting_outlives_its_file(empty: Database, tmp_path: Path) -> None:
    written(tmp_path)
    with empty.connect() as connection:
        before = connection.execute(SETTINGS).fetchall()
        for path in sorted(tmp_path.iterdir()):
            as_one_message(connection, path.read_text())
            assert connection.execute(SETTINGS).fetchall() == before, path.name


def test_a_file_that_fails_leaves_nothing_and_is_run_again(databases: Databases, tmp_path: Path) -> None:
    with databases.clone(databases.dressed) as db, db.connect() as connection:
        connection.execute(Path(__file__).with_name("generation_a.sql").read_bytes())
        twin = "insert into public.images (user_id, prompt, job_id, image_index) select user_id, '', job_id, 0 from {}"
        connection.execute(twin.format("public.images where image_index = 1 and job_id is not null").encode())
        duplicates = [file.name for file in written(tmp_path) if "_0003_" in file.name]
        with pytest.raises(psycopg.errors.RaiseException, match="stand in more than one row each"):
            push(db, tmp_path)
        assert migrate.current(db.dsn) == "0002"
        connection.execute("delete from public.images where prompt = ''")
        push(db, tmp_path, after=f"{duplicates[0][:-4]}")
        assert migrate.current(db.dsn) == statements.HEAD


def test_a_file_refuses_a_database_that_is_at_another_revision(empty: Database, tmp_path: Path) -> None:
    written(tmp_path)
    migrate.upgrade(empty.dsn, "0005")
    before = picture(empty.dsn)
    for path in sorted(tmp_path.iterdir()):
        if "_0006_" in path.name or "_job_types" in path.name:
            continue
        with pytest.raises(psycopg.errors.RaiseException) as caught:
            push_one(empty, path)
        assert re.match(
            r"This file brings a database from revision \w+ to the next one, and this database is at 0005\. "
            r"Where `consumer migrate up` has been here before, ",
            caught.value.diag.message_primary or "",
        )
    assert picture(empty.dsn) == before


def push_one(db: Database, path: Path) -> None:
    with db.connect() as connection:
        as_one_message(connection, path.read_text())


# The files.


def test_there_is_one_file_per_revision_in_order_and_the_job_types_last(tmp_path: Path) -> None:
    started = datetime.now(UTC).replace(microsecond=0)
    files = written(tmp_path)
    assert [file.name for file in files] == sorted(path.name for path in tmp_path.iterdir())
    assert all(file.written for file in files)
    versions, titles = zip(*(file.name.split("_consumer_") for file in files), strict=True)
    assert [title[:4] for title in titles[:-1]] == [number for number, _ in migrate.history()]
    assert (titles[0], titles[-1]) == ("0001_baseline.sql", "job_types.sql")
    assert len(set(versions)) == len(versions)
    assert datetime.strptime(f"{versions[0]}+0000", "%Y%m%d%H%M%S%z") >= started


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    first = written(tmp_path)
    contents = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written(tmp_path) == [File(file.name, False) for file in first]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == contents


def test_what_is_missing_comes_after_everything_that_is_there(tmp_path: Path) -> None:
    names = [file.name for file in written(tmp_path)]
    for name in names[-4:-1]:
        (tmp_path / name).unlink()
    foreign = tmp_path / "29990131235959_theirs.sql"
    foreign.write_text("select 1;")
    (tmp_path / "README.md").write_text("Ours.")
    files = written(tmp_path)
    assert [file.written for file in files] == [*[False] * (len(names) - 4), *[True] * 3, False]
    assert [file.name[:14] for file in files if file.written] == ["29990201000000", "29990201000001", "29990201000002"]
    assert files[-1].name == names[-1]
    assert foreign.read_text() == "select 1;"


def test_job_types_that_have_changed_are_a_new_file_and_the_old_one_stays(tmp_path: Path) -> None:
    [*_, old] = written(tmp_path)
    fewer = list(job_types.load().values())[1:]
    before = (tmp_path / old.name).read_text()
    files = [file for file in export(tmp_path, fewer) if file.written]
    assert [file.name[14:] for file in files] == ["_consumer_job_types.sql"]
    assert files[0].name > old.name
    assert (tmp_path / old.name).read_text() == before
    assert [file for file in export(tmp_path, fewer) if file.written] == []


def test_broadcast_is_a_file_of_its_own_where_it_is_asked_for(empty: Database, tmp_path: Path) -> None:
    names = [file.name for file in written(tmp_path)]
    files = written(tmp_path, broadcast=True)
    [broadcast] = [file.name for file in files if file.written]
    assert broadcast[14:] == "_consumer_broadcast.sql"
    assert broadcast > names[-1]
    push(empty, tmp_path)
    there = "select count(*) from pg_policies where policyname = 'consumer_read_own_topic'"
    assert empty.connect().execute(there.encode()).fetchone() == (1,)
    assert not any(file.written for file in written(tmp_path, broadcast=True))


def test_an_index_is_built_without_concurrently_and_the_header_says_what_that_locks(tmp_path: Path) -> None:
    texts = {file.name[24:28]: (tmp_path / file.name).read_text() for file in written(tmp_path)}
    for number, _ in migrate.history():
        lines, transactional = statements.migration(number, "up")
        builds = any(re.search(r"^create (unique )?index concurrently", line, re.MULTILINE) for line in lines)
        header = texts[number].split("\n\n")[0]
        assert ("SHARE on the table of each index while it is built: writes wait" in header) is builds
        assert ("runs this file" in header) is not transactional
        assert not re.search(r"^(create|drop)( unique)? index concurrently", texts[number], re.MULTILINE)


@pytest.mark.parametrize("name", ["", "a_file"])
def test_a_folder_that_is_none_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "a_file").write_text("")
    folder = tmp_path / (name or "nowhere")
    with pytest.raises(UsageError) as caught:
        written(folder)
    assert str(caught.value) == f"There is no folder {folder} to write to: make it, or name another one with --to."


@pytest.mark.parametrize("version", ["3000", "99999999999999", "30001301000000", "300012310000"])
def test_a_migration_behind_which_nothing_can_come_is_refused(tmp_path: Path, version: str) -> None:
    (tmp_path / f"{version}_theirs.sql").write_text("")
    with pytest.raises(UsageError) as caught:
        written(tmp_path)
    assert str(caught.value) == (
        f"The migration {version} sorts behind every time, so that nothing can come after it: "
        "rename it to a time like 20260131235959."
    )
    assert len(list(tmp_path.iterdir())) == 1


def test_old_versions_of_any_form_are_no_obstacle(tmp_path: Path) -> None:
    for version in ("1", "20210101", "20210101000000"):
        (tmp_path / f"{version}_theirs.sql").write_text("")
    assert len([file for file in written(tmp_path) if file.written]) == len(migrate.history()) + 1
