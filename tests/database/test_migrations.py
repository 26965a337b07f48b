"""The revisions: up, down, up again, by each of the three ways, and alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer import migrate, statements
from consumer.errors import DatabaseRefusedError, UsageError
from jobs import Jobs
from postgres import Database, Databases
from schema_picture import run_program
from stages import state
from workers import eventually

ROOT = Path(__file__).parents[2]


def test_a_revision_goes_up_down_and_up_again(stage, databases: Databases) -> None:
    with databases.clone(stage.after.name) as db:
        migrate.downgrade(db.dsn, stage.state_before.revision)
        assert state(db) == stage.state_before
        migrate.upgrade(db.dsn, stage.revision)
        assert state(db) == stage.state_after


def test_all_of_them_go_up_down_and_up_again(dressed_db: Database, stages) -> None:
    for _ in range(2):
        migrate.upgrade(dressed_db.dsn)
        assert state(dressed_db) == stages[statements.HEAD].state_after
        migrate.downgrade(dressed_db.dsn, "base")
        assert state(dressed_db) == stages["0001"].state_before


def test_a_step_that_is_done_is_not_done_again(stages, databases: Databases) -> None:
    with databases.clone(stages[statements.HEAD].after.name) as db:
        migrate.upgrade(db.dsn)
        assert state(db) == stages[statements.HEAD].state_after


def test_the_worker_asks_for_the_newest_revision() -> None:
    assert [number for number, _ in migrate.history()][-1] == statements.HEAD


EMPTIED = "select to_regnamespace('consumer') is null"


def test_at_the_base_the_private_schema_is_gone_by_either_way(databases: Databases, stages) -> None:
    for way in (
        lambda db: migrate.downgrade(db.dsn, "base"),
        lambda db: psql(db, migrate.offline_sql(f"{statements.HEAD}:base", "down")),
    ):
        with databases.clone(stages[statements.HEAD].after.name) as db:
            way(db)
            assert db.connect().execute(EMPTIED).fetchone() == (True,)
            migrate.upgrade(db.dsn)
            assert state(db) == stages[statements.HEAD].state_after


def test_a_private_schema_that_holds_something_else_stays(databases: Databases, stages) -> None:
    with databases.clone(stages[statements.HEAD].after.name) as db:
        connection = db.connect()
        connection.execute("create table consumer.theirs (id int); insert into consumer.theirs values (1)")
        migrate.downgrade(db.dsn, "base")
        assert connection.execute("select * from consumer.theirs").fetchall() == [(1,)]
        migrate.upgrade(db.dsn)


def test_each_revision_is_told_as_it_begins(databases: Databases, stages) -> None:
    told: list[str] = []
    with databases.clone(stages["0005"].after.name) as db:
        migrate.upgrade(db.dsn, "0007", told.append)
        migrate.downgrade(db.dsn, "0006", told.append)
    assert told == [
        "Revision 0006 queue indexes: up.",
        "Revision 0007 record per asset: up.",
        "Revision 0007 record per asset: down.",
    ]


# By psql, as a DBA who has reviewed the SQL would run it.


def psql(db: Database, script: str) -> None:
    run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", db.dsn, stdin=script)


def test_the_printed_sql_has_the_same_effect_as_the_command(dressed_db: Database, stages) -> None:
    psql(dressed_db, migrate.offline_sql())
    assert state(dressed_db) == stages[statements.HEAD].state_after


def test_the_printed_sql_for_the_way_back_has_the_same_effect_as_the_command(databases: Databases, stages) -> None:
    with databases.clone(stages[statements.HEAD].after.name) as db:
        psql(db, migrate.offline_sql(f"{statements.HEAD}:base", "down"))
        assert state(db) == stages["0001"].state_before


def test_the_sql_of_some_revisions_can_be_printed_alone(databases: Databases, stages) -> None:
    with databases.clone(stages["0002"].after.name) as db:
        psql(db, migrate.offline_sql("0002:0006"))
        assert state(db) == stages["0006"].state_after


def test_alembic_itself_has_the_same_effect(dressed_db: Database, stages) -> None:
    environment = os.environ | {"DATABASE_URL": dressed_db.dsn}
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], check=True, cwd=ROOT, env=environment)
    assert state(dressed_db) == stages[statements.HEAD].state_after


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("select 1;\n\nselect 2;", ["select 1", "select 2"]),
        ("-- what; why\nselect 1;", ["-- what; why\nselect 1"]),
        ("select 1; -- done;\n", ["select 1"]),
        ("/* ; */ select ';', \";\", 'it''s;';select 2", ["/* ; */ select ';', \";\", 'it''s;'", "select 2"]),
        ("do $$ begin; end $$; do $x$ $$;$$ $x$;", ["do $$ begin; end $$", "do $x$ $$;$$ $x$"]),
    ],
)
def test_a_script_is_split_where_a_statement_ends(script: str, parts: list[str]) -> None:
    assert statements.split(script) == parts


# Alone on the database, by a connection that can.

UPGRADE = "import os; from consumer import migrate; migrate.upgrade(os.environ['DATABASE_URL'])"


def test_two_upgrades_at_once_run_one_after_the_other(dressed_db: Database, stages) -> None:
    with dressed_db.connect() as gate:
        gate.execute("select pg_advisory_lock(%s)", (migrate.LOCK,))
        environment = os.environ | {"DATABASE_URL": dressed_db.dsn}
        both = [
            subprocess.Popen([sys.executable, "-c", UPGRADE], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        count = (
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'consumer'"
        )
        eventually(lambda: gate.execute(count).fetchone() == (2,), "both of them are there and ask for the lock")
    errors = [process.communicate()[1].decode() for process in both]
    assert ([process.returncode for process in both], errors) == ([0, 0], ["", ""])
    assert state(dressed_db) == stages[statements.HEAD].state_after


@pytest.mark.parametrize("action", [migrate.upgrade, migrate.downgrade])
@pytest.mark.parametrize("dsn", ["postgresql://u:p@db.example.com:6543/postgres", "host=db.example.com port=6543"])
def test_a_pooler_in_transaction_mode_is_refused_before_it_is_asked(dsn: str, action) -> None:
    with pytest.raises(UsageError) as caught:
        action(dsn, "0001")
    assert str(caught.value) == (
        "Port 6543 is a pooler in transaction mode, which cannot run migrations: use the direct connection "
        "or the session pooler (port 5432)."
    )


def test_a_database_url_that_cannot_be_read_is_told_in_a_sentence() -> None:
    with pytest.raises(DatabaseRefusedError, match="cannot be read; it should look like postgresql://"):
        migrate.upgrade("postgres:/nowhere at all")


def test_a_revision_that_nobody_knows_is_told_in_a_sentence(databases: Databases, stages) -> None:
    with databases.clone(stages["0001"].after.name) as db:
        db.connect().execute("update consumer.alembic_version set version_num = '9999'")
        with pytest.raises(UsageError, match=r"^Can't locate revision identified by '9999'\.$"):
            migrate.upgrade(db.dsn)


# What a way back must not destroy.


def test_no_way_back_while_a_job_is_processing(own_db: Database, stages) -> None:
    jobs = Jobs(own_db)
    jobs.set(jobs.add(), status="processing", claim_id=1)
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.downgrade(own_db.dsn, "0004")
    assert str(caught.value) == (
        "Revision 0005 queue columns: A job is processing; stop the workers before going below revision 0005."
    )
    assert state(own_db) == stages[statements.HEAD].state_after


def test_no_way_back_while_rows_are_there_and_then_up_again(own_db: Database, stages) -> None:
    def kept(*rows: Any) -> Any:
        """What a revision that is undone and done again does not make anew."""
        return [[{**row, "version": None, "updated_at": None, "finish_tag": None} for row in table] for table in rows]

    jobs = Jobs(own_db)
    job = jobs.add(count=3)
    before, *assets_before = jobs.rows(job)
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.downgrade(own_db.dsn, "base")
    assert str(caught.value) == (
        "Revision 0005 queue columns: "
        "The table public.jobs holds rows; move or delete them before going below revision 0005."
    )
    assert state(own_db) == stages[statements.HEAD].state_after
    migrate.downgrade(own_db.dsn, "0005")
    migrate.upgrade(own_db.dsn)
    assert state(own_db) == stages[statements.HEAD].state_after
    after, *assets_after = jobs.rows(job)
    assert kept([after], *assets_after) == kept([before], *assets_before)


@pytest.mark.parametrize(
    ("revision", "name", "table"),
    [("0002", "image index", "images"), ("0001", "baseline", "images"), ("0001", "baseline", "videos")],
)
def test_no_way_back_from_an_early_revision_while_rows_are_there(
    stages, databases, revision: str, name: str, table: str
) -> None:
    with databases.clone(stages[revision].after.name) as db:
        db.connect().execute(f"insert into public.{table} (user_id) values (%s)".encode(), (db.user(),))
        with pytest.raises(DatabaseRefusedError) as caught:
            migrate.downgrade(db.dsn, "base")
        assert str(caught.value) == (
            f"Revision {revision} {name}: "
            f"The table public.{table} holds rows; move or delete them before going below revision {revision}."
        )
        assert state(db) == stages[revision].state_after
