"""What happens becomes log lines, and what must stay private does not."""

import json
import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from consumer import events
from consumer.errors import RejectedError, StorageRefusedError
from postgres import Database

JOB = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]):
    """What was written to stderr since it was last read; logging is as before afterwards."""
    root, level = logging.getLogger(), events.logger.level
    before = list(root.handlers)
    yield lambda: capsys.readouterr().err
    root.handlers = before
    events.logger.setLevel(level)


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_event_is_one_json_object_with_its_fields(stderr):
    events.configure("json")
    events.emit("job.completed", job=JOB, images=3, seconds=4.25, warm=True, model=None)
    (line,) = lines(stderr())
    assert datetime.now(UTC) - datetime.fromisoformat(line.pop("time")) < timedelta(minutes=1)
    assert line == {
        "level": "info",
        "event": "job.completed",
        "job": str(JOB),
        "images": 3,
        "seconds": 4.25,
        "warm": True,
        "model": None,
    }


@pytest.mark.parametrize(
    ("level", "fields", "line"),
    [
        (logging.INFO, {"job": JOB, "images": 3}, f"job.ended job={JOB} images=3"),
        (logging.WARNING, {}, "WARNING job.ended"),
        (logging.ERROR, {"why": 'two "words"'}, r'ERROR job.ended why="two \"words\""'),
        (logging.INFO, {"why": "two\nlines"}, r'job.ended why="two\nlines"'),
        (logging.INFO, {"why": "", "who": None, "ok": False}, 'job.ended why="" who=null ok=false'),
    ],
)
def test_an_event_is_one_line_of_text(stderr, level, fields, line):
    events.configure("text")
    events.emit("job.ended", level=level, **fields)
    time, rest = stderr().split(" ", 1)
    assert len(time) == len("12:34:56")
    assert rest == line + "\n"


@pytest.mark.parametrize(
    ("terminal", "form"),
    [(True, r"\d\d:\d\d:\d\d worker.started\n"), (False, r'\{"time": .*"worker.started"\}\n')],
)
def test_auto_is_text_on_a_terminal_and_json_elsewhere(stderr, monkeypatch, terminal, form):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    events.configure("auto")
    events.emit("worker.started")
    assert re.fullmatch(form, stderr())


def test_configuring_again_replaces_the_format_and_repeats_no_line(stderr):
    events.configure("text")
    events.configure("json")
    events.emit("worker.started")
    assert [line["event"] for line in lines(stderr())] == ["worker.started"]


def test_debug_events_stay_silent(stderr):
    events.configure("json")
    events.emit("heartbeat.sent", level=logging.DEBUG)
    assert stderr() == ""


@pytest.mark.parametrize(
    "name",
    [
        "prompt",
        "negative_prompt",
        "url",
        "image_url",
        "dsn",
        "secret_key",
        "token",
        "Password",
        "authorization",
        "time",
    ],
)
def test_a_field_that_could_hold_a_secret_or_a_prompt_is_refused(name):
    with pytest.raises(TypeError, match=name):
        events.emit("job.completed", **{name: "x"})


@pytest.mark.parametrize("name", ["keys_seen", "monkey", "curls", "job", "tokens"])
def test_a_field_that_only_looks_alike_is_taken(stderr, name):
    events.configure("json")
    events.emit("job.completed", **{name: 1})
    assert lines(stderr())[0][name] == 1


def test_a_long_text_is_cut(stderr):
    events.configure("json")
    events.emit("job.failed", why="x" * 10_000)
    assert lines(stderr())[0]["why"] == "x" * 200


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RejectedError("steps must be 1."), "RejectedError: steps must be 1."),
        (StorageRefusedError(), "StorageRefusedError"),
        (OSError("postgresql://me:hunter2@db/postgres"), "OSError"),
        (ExceptionGroup("of a prompt", [ValueError("a prompt"), RejectedError("no.")]), "RejectedError: no."),
        (ExceptionGroup("of a prompt", [ValueError("a prompt")]), "ValueError"),
    ],
)
def test_an_error_of_ours_speaks_and_a_foreign_one_only_gives_its_type(error, told):
    assert events.describe(error) == told


def test_a_librarys_warning_tells_where_it_came_from_and_not_what_it_says(stderr):
    events.configure("json")
    library = logging.getLogger("some.library")
    library.info("connected to postgresql://me:hunter2@db")
    library.warning("truncated your prompt: %s", "a secret garden")
    try:
        raise OSError("postgresql://me:hunter2@db")
    except OSError:
        library.exception("failed")
    written = stderr()
    warning, failure = lines(written)
    assert (warning["event"], warning["logger"]) == ("library.logged", "some.library")
    assert warning["line"].startswith("test_events:")
    assert (failure["level"], failure["error"]) == ("error", "OSError")
    assert "hunter2" not in written
    assert "garden" not in written


REFUSED = {
    "a table": ("select * from auth.users", "InsufficientPrivilege: permission denied for table users"),
    "a schema": ("select * from consumer.orphans", "InsufficientPrivilege: permission denied for schema consumer"),
    "a row": (
        "insert into public.diary values ('a prompt')",
        'InsufficientPrivilege: new row violates row-level security policy for table "diary"',
    ),
    "the application's own words": (
        "do $$ begin raise exception 'a prompt' using errcode = '42501'; end $$", "InsufficientPrivilege",
    ),
    "another refusal": ("select 'a prompt'::integer", "InvalidTextRepresentation"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_right_that_is_missing_is_named_and_what_an_application_says_is_not(db: Database, what: str):
    statement, told = REFUSED[what]
    db.connect().execute("create table public.diary (line text); grant insert on public.diary to authenticated")
    db.connect().execute("alter table public.diary enable row level security")
    with pytest.raises(psycopg.Error) as caught:
        db.execute_as(uuid4(), statement)
    assert events.describe(caught.value) == told
