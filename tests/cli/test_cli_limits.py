"""`consumer limits`: weights and limits of users."""

import psycopg
import pytest

from commands import Command, Outcome
from jobs import Jobs
from postgres import Database
from worker_login import worker_dsn

MOST = 2**31 - 1


@pytest.fixture
def jobs(db: Database) -> Jobs:
    return Jobs(db)


def listed(connected: Command) -> list[tuple[str | None, float, int | None, int | None]]:
    return [tuple(row.values()) for row in connected("limits", "--json").json]


def test_limits_are_set_for_everybody_and_for_a_user_and_cleared(connected: Command, jobs: Jobs) -> None:
    user = str(jobs.user)
    assert connected("limits").out == "No limits: every user has the weight 1, and as many jobs as they like.\n"
    assert connected("limits", "set", "--max-queued", 100).code == 0
    assert listed(connected) == [(None, 1, 100, None)]
    # What is not named is what counted for this user until now.
    shown = connected("limits", "set", "--user", user, "--weight", "2.5", "--max-running", 1)
    assert shown.code == 0
    assert shown.out.split()[-4:] == [user, "2.5", "100", "1"]
    assert connected("limits", "set", "--max-queued", 7, "--weight", 0.01).code == 0
    assert listed(connected) == [(None, 0.01, 7, None), (user, 2.5, 100, 1)]
    [changed] = connected("limits", "--json", "set", "--user", user, "--max-queued", "none").json
    assert changed == {"user_id": user, "weight": 2.5, "max_queued": None, "max_running": 1}
    assert listed(connected) == [(None, 0.01, 7, None), (user, 2.5, None, 1)]
    assert connected("limits").out.split()[-8:] == ["everybody", "0.01", "7", "none", user, "2.5", "none", "1"]

    assert connected("limits", "clear", "--user", user).out == f"Nothing is set for the user {user} any longer.\n"
    assert listed(connected) == [(None, 0.01, 7, None)]
    assert connected("limits", "clear").out == "Nothing is set for everybody any longer.\n"
    assert connected("limits", "--json").out == "[]\n"
    for options, whose in ((("--user", user), f"the user {user}"), ((), "everybody")):
        assert connected("limits", "clear", *options) == Outcome(1, "", f"Nothing was set for {whose}.\n")


def test_the_database_keeps_to_what_was_set(connected: Command, jobs: Jobs, db: Database) -> None:
    connected("limits", "set", "--user", jobs.user, "--max-queued", 1)
    jobs.add()
    with pytest.raises(psycopg.DatabaseError, match="At most 1 of your jobs may be queued"):
        jobs.add()
    jobs.add(user_id=db.user())


BAD: list[tuple[list[str], str]] = [
    ([], "Say what to set: --weight, --max-queued or --max-running."),
    (["--user", "ada", "--weight", "1"], "--user must be a UUID; 'ada' is not."),
    (["--weight", "0"], "--weight must be a number from 0.01 to 100."),
    (["--weight", "100.1"], "--weight must be a number from 0.01 to 100."),
    (["--weight", "nan"], "--weight must be a number from 0.01 to 100."),
    (["--weight", "none"], "--weight must be a number from 0.01 to 100."),
    (["--max-queued", "-1"], f"--max-queued must be a whole number from 0 to {MOST}, or none."),
    (["--max-queued", "1.5"], f"--max-queued must be a whole number from 0 to {MOST}, or none."),
    (["--max-queued", "9" * 5000], f"--max-queued must be a whole number from 0 to {MOST}, or none."),
    (["--max-running", "0"], f"--max-running must be a whole number from 1 to {MOST}, or none."),
    (["--max-running", str(MOST + 1)], f"--max-running must be a whole number from 1 to {MOST}, or none."),
]


def test_a_bad_value_is_refused_in_one_sentence_and_changes_nothing(connected: Command) -> None:
    for options, sentence in BAD:
        assert connected("limits", "set", *options) == Outcome(2, "", sentence + "\n")
    assert listed(connected) == []


def test_the_ends_of_the_ranges_are_taken(connected: Command) -> None:
    for weight, queued, running in (("0.01", "0", "1"), ("100", str(MOST), str(MOST))):
        connected("limits", "set", "--weight", weight, "--max-queued", queued, "--max-running", running)
        assert listed(connected) == [(None, float(weight), int(queued), int(running))]


def test_a_worker_s_role_may_look_and_is_told_that_it_may_not_change_anything(
    connected: Command, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected("limits", "set", "--weight", "3")
    monkeypatch.setenv("DATABASE_URL", worker_dsn(db))
    sentence = "The role in DATABASE_URL may not do this: permission denied for table user_limits.\n"
    for action in (("set", "--weight", "4"), ("clear",)):
        assert connected("limits", *action) == Outcome(2, "", sentence)
    assert listed(connected) == [(None, 3, None, None)]
