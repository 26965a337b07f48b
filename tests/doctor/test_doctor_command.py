"""The command itself: every check on a database that is well, lines for people and for programs, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer import migrate
from consumer.cli import main
from consumer.doctor.examine import GROUPS
from postgres import Database, relogin
from stand_in import SECRET_KEY, StorageServer
from workers import OURS

Row = dict[str, Any]


@pytest.fixture
def doctor(db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `consumer doctor --json`; returns its exit code and its findings."""
    monkeypatch.setenv("DATABASE_URL", db.dsn)

    def run(*options: str) -> tuple[int, list[Row]]:
        code = main(["doctor", "--json", *options])
        out, err = capsys.readouterr()
        assert err == ""
        return code, json.loads(out)

    return run


def test_everything_is_well(db: Database, bare: Path) -> None:
    with StorageServer() as storage:
        (bare / ".env").write_text(
            f"DATABASE_URL={db.dsn}\nCONSUMER_DATABASE_ROLE=consumer_worker\nCONSUMER_ENGINES=sketch\n"
            f"SUPABASE_URL={storage.url}\nSUPABASE_SECRET_KEY={SECRET_KEY}\n"
        )
        (bare / ".env").chmod(0o600)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        done = subprocess.run(
            [sys.executable, "-m", "consumer", "doctor", "--json"],
            cwd=bare, env=inherited, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert all(list(row) == ["check", "status", "message", "remedy"] for row in found)
    every = [f"{name}.{check.__name__}" for name, group in GROUPS.items() for check in group.each]
    assert list(dict.fromkeys(row["check"] for row in found)) == every
    uneasy = {row["check"]: row["status"] for row in found if row["status"] != "ok"}
    # There is no GPU for a sketch, and what other engines need may not be installed; the disk is whatever it is.
    assert set(uneasy.values()) <= {"note", "skip"}
    assert {check.split(".")[0] for check in uneasy} <= {"engines"}
    password = relogin(db.dsn).split(":")[2].split("@")[0]
    for secret in (password, SECRET_KEY, "127.0.0.1"):
        assert secret not in done.stdout


def test_one_thing_is_wrong(doctor: Any, db: Database) -> None:
    with db.connect() as connection:
        connection.execute("alter table public.jobs disable trigger consumer_wake_idle_worker")
    code, found = doctor("--only", "schema", "--only", "realtime")
    assert code == 1
    assert {row["check"].split(".")[0] for row in found} == {"schema", "realtime"}
    assert [row for row in found if row["status"] == "wrong"] == [
        {
            "check": "schema.triggers",
            "status": "wrong",
            "message": "The trigger consumer_wake_idle_worker on public.jobs is disabled.",
            "remedy": "alter table public.jobs enable trigger consumer_wake_idle_worker;",
        }
    ]


def test_lines_for_people(doctor: Any, db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with db.connect() as connection:
        connection.execute("alter publication supabase_realtime drop table public.jobs")
    assert main(["doctor", "--only", "realtime"]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == (
        "wrong realtime.publication      The table public.jobs is not in the publication supabase_realtime: no "
        "frontend sees its changes. -> alter publication supabase_realtime add table public.jobs;"
    )
    assert last == "4 ok, 0 note, 0 skip, 1 wrong"


def test_settings_with_mistakes(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_LEASE_SECONDS", "soon")
    monkeypatch.setenv("SUPABASE_URL", "project.supabase.co")
    code, found = doctor()
    assert code == 1
    wrong = [row for row in found if row["status"] == "wrong"]
    assert [row["check"] for row in wrong] == ["settings.values", "settings.values"]
    assert {row["message"].split()[0] for row in wrong} == {"CONSUMER_LEASE_SECONDS", "SUPABASE_URL"}
    assert [row["check"] for row in found if row["status"] == "skip"] == [name for name in GROUPS if name != "settings"]


def test_nothing_is_set(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    code, found = doctor("--quick")
    assert code == 1
    wrong = [(row["check"], row["message"]) for row in found if row["status"] == "wrong"]
    assert wrong == [(check, "DATABASE_URL is not set.") for check in ("settings.values", "connections.database")]
    assert {row["status"] for row in found if row["check"].split(".")[0] in ("schema", "rights", "health")} == {"skip"}


def test_a_database_that_is_not_migrated(doctor: Any, dressed_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", dressed_db.dsn)
    code, found = doctor("--quick")
    assert code == 1
    [wrong] = [row for row in found if row["status"] == "wrong" and row["check"] != "realtime.publication"]
    assert (wrong["check"], wrong["remedy"]) == ("schema.revision", "consumer migrate up")
    migrate.upgrade(dressed_db.dsn)
    _, found = doctor("--only", "schema")
    assert [row["check"] for row in found if row["status"] == "wrong"] == ["schema.job_types"]


def test_a_table_that_is_gone_is_a_line_and_not_a_traceback(doctor: Any, db: Database, bare: Path) -> None:
    with db.connect() as connection:
        connection.execute("drop table consumer.workers cascade")
    code, found = doctor("--only", "health")
    assert code == 1
    broken = [row["message"] for row in found if row["status"] == "wrong"]
    assert broken == ['Something of the schema is gone: relation "consumer.workers" does not exist.'] * 2


def test_a_group_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--only", "everything"])
    assert caught.value.code == 2
    assert "invalid choice: 'everything'" in capsys.readouterr().err
