"""`consumer migrate preflight`, and `up` on a database that has tables and rows already."""

from collections.abc import Iterator

import pytest

import adopted
from adopted import key
from commands import Command
from consumer.job_types import load
from consumer.statements import HEAD
from postgres import Database, Databases

TWINS = f"""
insert into public.images (user_id, prompt, job_id, image_index)
select user_id, 'A twin', id, 0 from public.jobs, generate_series(1, 2) where id = '{key("jobs", 13)}'
"""
STOP = (
    "In public.images 1 pairs of job_id and image_index stand in more than one row each. Keep one row of each; "
    "this shows them: select job_id, image_index, array_agg(id order by created_at) from public.images "
    "where job_id is not null and image_index is not null group by 1, 2 having count(*) > 1;"
)


@pytest.fixture
def db(databases: Databases) -> Iterator[Database]:
    """The platform's database, without our migrations."""
    with adopted.platform(databases) as db:
        yield db


def test_a_line_for_each_finding_and_what_stops_is_the_exit_code(connected: Command, db: Database) -> None:
    clean = connected("migrate", "preflight")
    assert (clean.code, clean.err) == (0, "")
    lines = clean.out.splitlines()
    assert "ok   duplicates   No two rows share a job_id and an image_index." in lines
    assert any(line.startswith("note parked       5 queued jobs of our types") for line in lines)
    assert not [line for line in lines if line.startswith("stop")]
    db.connect().execute(TWINS.encode())
    stopped = connected("migrate", "preflight")
    assert stopped.code == 1
    assert [line for line in stopped.out.splitlines() if line.startswith("stop")] == [f"stop duplicates   {STOP}"]


def test_the_same_as_json(connected: Command, db: Database) -> None:
    db.connect().execute(TWINS.encode())
    told = connected("migrate", "preflight", "--json")
    assert told.code == 1
    assert {each["level"] for each in told.json} == {"ok", "note", "stop"}
    [stop] = [each for each in told.json if each["level"] == "stop"]
    assert (stop["check"], f"{stop['sentence']} {stop['remedy']}") == ("duplicates", STOP)


def test_the_way_up_is_refused_with_the_same_sentences_before_any_ddl(connected: Command, db: Database) -> None:
    db.connect().execute(TWINS.encode())
    db.connect().execute("create function public.retry_job(uuid) returns text language sql as 'select null::text'")
    refused = connected("migrate", "up")
    function = "There is already a function public.retry_job(uuid), and it is not ours. "
    function += "Rename it first: alter function public.retry_job(uuid) rename to ...;"
    assert (refused.code, refused.out, refused.err) == (5, "", f"{function}\n{STOP}\n")
    assert db.connect().execute("select to_regnamespace('consumer')").fetchone() == (None,)


def test_the_way_up_ends_by_saying_how_many_jobs_are_parked(connected: Command) -> None:
    up = connected("migrate", "up")
    assert up.code == 0
    assert up.out == (
        f"At revision {HEAD}, with {len(load())} job types.\n"
        "Parked jobs from before the queue: 5, and 1 that another worker had begun (by ID only). "
        "`consumer jobs list --parked` shows them, `consumer jobs unpark ID` or `--all` puts them in line.\n"
    )
