"""`consumer submit` inserts as a frontend does, says what the database says, and shows what becomes of the job."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from psycopg.rows import dict_row

from commands import Command
from consumer.client import Client
from jobs import Jobs
from postgres import Database, relogin
from workers import Site


def test_a_job_is_inserted_with_what_the_options_say(connected: Command, db: Database) -> None:
    user = db.user()
    params = ["--param", "steps=30", "--param", "style=film noir", "--param", "compel_enabled=true"]
    submitted = connected("submit", "sdxl_image_fast", "a lake", "-n", 2, "--seed", 7, *params, "--json")
    assert submitted.code == 0
    assert [(asset["index"], asset["status"]) for asset in submitted.json["assets"]] == [(0, "queued"), (1, "queued")]
    with db.connect(row_factory=dict_row) as connection:
        [job] = connection.execute("select * from public.jobs").fetchall()
    assert (
        (str(job["id"]), job["status"])
        == (submitted.json["id"], submitted.json["status"])
        == (str(job["id"]), "queued")
    )
    assert (job["user_id"], job["job_type"], job["original_prompt"]) == (user, "sdxl_image_fast", "a lake")
    assert job["metadata"] == {"num_images": 2, "seed": 7, "steps": 30, "style": "film noir", "compel_enabled": True}


def test_only_its_user_sees_the_job(connected: Command, db: Database) -> None:
    user, other = db.user(), db.user()
    job_id = UUID(connected("submit", "sketch", "a lake", "--user", user, "--json").json["id"])
    dsn = relogin(db.admin_dsn, user="authenticator")
    with db.connect(dsn, row_factory=dict_row) as connection:
        assert [job.id for job in Client(connection, user).read([job_id])] == [job_id]
        assert Client(connection, other).read([job_id]) == []


def test_without_json_it_tells_how_to_go_on(connected: Command, db: Database) -> None:
    db.user()
    submitted = connected("submit", "sketch", "a lake")
    short = submitted.out.split("consumer jobs show ")[1].split("`")[0]
    assert connected("jobs", "show", short).code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-n", "7"], "num_images must be a whole number from 1 to 6."),
        (["--param", "num_images=3.7"], "num_images must be a whole number from 1 to 6."),
        # Only what comes as `authenticated` is held to this.
        (["--param", "note=" + "x" * 70_000], "metadata must be at most 64 KiB"),
        (["--user", "00000000-0000-0000-0000-000000000000"], "There is no user 00000000-0000-0000-0000-000000000000"),
        (["--user", "ada"], "--user must be the id (a UUID) of a row in auth.users; 'ada' is not."),
        (["--param", "steps"], "--param must be like steps=30; 'steps' is not."),
    ],
)
def test_a_mistake_is_told_in_one_sentence(connected: Command, db: Database, options: list[str], sentence: str) -> None:
    db.user()
    refused = connected("submit", "sdxl_image_fast", "a lake", *options)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(sentence)
    assert refused.err.count("\n") == 1
    with db.connect() as connection:
        assert connection.execute("select count(*) from public.jobs").fetchone() == (0,)


def test_an_unknown_job_type_is_told_the_known_ones(connected: Command, db: Database) -> None:
    db.user()
    refused = connected("submit", "sdxl_fast", "a lake")
    assert refused.code == 2
    assert refused.err.startswith("There is no job type 'sdxl_fast'; there are: ")
    assert "sdxl_image_fast, sdxl_image_high" in refused.err


def test_a_job_type_that_was_not_pushed_is_told_apart(
    connected: Command, db: Database, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.user()
    (bare / "own.toml").write_text('[poster]\nengine = "sketch"\nmedium = "image"\n')
    monkeypatch.setenv("CONSUMER_JOB_TYPES", "own.toml")
    assert "run `consumer job-types push`" in connected("submit", "poster", "a lake").err
    assert connected("job-types", "push").code == 0
    assert connected("submit", "poster", "a lake").code == 0


def test_with_no_user_or_with_two_it_asks_whose_job_it_is(connected: Command, db: Database) -> None:
    refused = connected("submit", "sketch", "a lake")
    assert (refused.code, refused.err.split(",")[0]) == (2, "There is no user in auth.users yet")
    users = db.user(), db.user()
    assert "--user UUID" in connected("submit", "sketch", "a lake").err
    assert connected("submit", "sketch", "a lake", "--user", users[1]).code == 0


@pytest.mark.parametrize("command", [["submit", "sketch", "a lake"], ["jobs", "list"], ["job-types", "list"]])
def test_without_a_usable_database_every_command_says_what_helps(
    consumer: Command, dressed_db: Database, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def refused(dsn: str, code: int) -> str:
        monkeypatch.setenv("DATABASE_URL", dsn)
        outcome = consumer(*command)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, "", 1)
        return outcome.err

    assert "DATABASE_URL is not set" in refused("", 2)
    assert "postgresql://user:password@host:5432/postgres" in refused("https://project.supabase.co", 2)
    assert "Check DATABASE_URL" in refused("postgresql://postgres:secret@127.0.0.1:1/postgres", 5)
    wrong = dressed_db.dsn.replace("postgres:", "postgres:wrong", 1).replace("postgresql:wrong", "postgresql:")
    answer = refused(wrong, 5)
    assert "password authentication failed" in answer
    assert "wrong" not in answer
    assert "run `consumer migrate up`" in refused(dressed_db.dsn, 4)


def test_a_role_that_may_not_do_it_is_told_so(
    connected: Command, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = db.user()
    monkeypatch.setenv("DATABASE_URL", relogin(db.admin_dsn, user="authenticator"))
    refused = connected("submit", "sketch", "a lake", "--user", user)
    assert (refused.code, refused.err) == (
        5,
        ("The role in DATABASE_URL may not read the schema consumer: use consumer_worker, or the one that ran "
        "`consumer migrate up`.\n"),
    )  # fmt: skip


def test_waiting_ends_when_the_job_is_completed(connected: Command, db: Database, site: Site) -> None:
    db.user()
    site.start_idle(engines="sketch")
    done = connected("submit", "sketch", "a lake", "-n", 2, "--param", "resolution=64x128", "--wait", "--json")
    assert done.code == 0
    assert done.json["status"] == "completed"
    assert [(asset["index"], asset["width"], asset["height"]) for asset in done.json["assets"]] == [
        (0, 64, 128),
        (1, 64, 128),
    ]
    for asset in done.json["assets"]:
        assert site.file(asset["url"]).is_file()
    told = [f"Submitted {done.json['id']}.", "sketch 1/2  completed", "sketch 2/2  completed"]
    assert sorted(done.err.splitlines()) == told


def test_waiting_for_a_job_that_fails_says_why(connected: Command, db: Database, site: Site) -> None:
    db.user()
    site.start_idle(engines="sketch")
    failed = connected("submit", "sketch", "a lake", "--param", "steps=1000", "--wait")
    assert failed.code == 1
    assert failed.out.splitlines()[1:] == ["sketch 1/1  failed"]
    assert failed.err.endswith("is failed: steps must be a whole number from 1 to 100.\n")


def test_ctrl_c_while_waiting_leaves_the_job_alone(db: Database, bare: Path) -> None:
    jobs = Jobs(db)
    command = [sys.executable, "-m", "consumer", "submit", "sketch", "a lake", "--wait"]
    environment = {**os.environ, "DATABASE_URL": db.dsn}
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as waiting:
        assert waiting.stdout
        assert waiting.stdout.readline().startswith("Submitted ")
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate()
    assert waiting.returncode == 130
    [row] = jobs.run("select id, status from public.jobs")
    assert said == f"The job goes on; `consumer jobs show {str(row['id'])[:8]}` tells how it stands.\n"
    assert row["status"] == "queued"
