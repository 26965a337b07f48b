"""`consumer jobs list --parked` and `unpark`: jobs from before the queue, on the platform's own database."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

import adopted
from adopted import USER, key
from commands import Command
from jobs import Jobs
from postgres import Database, Databases

PARKED = [key("jobs", number) for number in (2, 3, 7, 10, 11)]
"""What nobody has begun, oldest first."""
BEGUN = key("jobs", 8)
"""What a worker has begun that is none of ours."""
TOLD = (
    "Parked jobs from before the queue: {}. "
    "`consumer jobs list --parked` shows them, `consumer jobs unpark ID` or `--all` puts them in line.\n"
)


@pytest.fixture(scope="module")
def moved_in(databases: Databases) -> Iterator[Database]:
    """The platform's database, adopted, to be cloned."""
    with adopted.adopted(databases) as db:
        yield db


@pytest.fixture
def db(databases: Databases, moved_in: Database) -> Iterator[Database]:
    with databases.clone(moved_in.name) as db:
        yield db


@pytest.fixture
def jobs(db: Database) -> Jobs:
    jobs = Jobs(db)
    jobs.user = USER
    return jobs


def in_line(jobs: Jobs) -> list[UUID]:
    """The jobs in line, in the order of service."""
    statement = "select id from public.jobs where status = 'queued' and queue_at is not null order by engine, queue_at"
    return [row["id"] for row in jobs.run(statement)]


def places(rows: list[dict[str, Any]]) -> list[tuple[int, str, bool]]:
    return [(row["image_index"], row["status"], row["managed"]) for row in rows]


def test_the_list_shows_the_parked_jobs_and_says_how_many(connected: Command, jobs: Jobs) -> None:
    new = jobs.add("sdxl_image_fast")
    listed = connected("jobs", "list", "--parked", "--json").json
    assert [job["id"] for job in listed] == [str(job) for job in sorted([*PARKED, BEGUN], reverse=True)]
    assert [job["status"] for job in listed if job["id"] == str(PARKED[2])] == [None]
    shown = connected("jobs", "list", "--parked").out
    assert shown.endswith(TOLD.format("5, and 1 that another worker had begun (by ID only)"))
    assert str(new)[:8] not in shown
    whole = connected("jobs", "list")
    assert TOLD.format("5, and 1 that another worker had begun (by ID only)") in whole.out
    assert "1 queued rv51_fast: the queue does not know this job type" in whole.out
    assert "queued sdxl_image_fast: the queue does not know" not in whole.out


@pytest.mark.parametrize("number", [2, 5, 7, 10])
def test_a_job_full_of_nulls_is_shown(connected: Command, number: int) -> None:
    job = key("jobs", number)
    shown = connected("jobs", "show", job, "--json").json
    assert (shown["id"], shown["attempts"]) == (str(job), 0)
    assert str(job) in connected("jobs", "show", job).out


def test_all_are_put_in_line_the_oldest_first(connected: Command, jobs: Jobs) -> None:
    begun = jobs.rows(BEGUN)
    outcome = connected("jobs", "unpark", "--all")
    assert (outcome.code, outcome.out, outcome.err) == (0, "Jobs put in line: 5.\n", "")
    assert in_line(jobs) == [PARKED[0], PARKED[3], PARKED[4], PARKED[1], PARKED[2]]
    assert jobs.rows(BEGUN) == begun
    others = jobs.run("select status from public.jobs where job_type = 'rv51_fast' order by id")
    assert [row["status"] for row in others] == ["queued", "processing"]
    assert connected("jobs", "list", "--parked").out.endswith(
        TOLD.format("0, and 1 that another worker had begun (by ID only)")
    )


def test_each_gets_its_rows_as_an_insert_would_make_them(connected: Command, jobs: Jobs) -> None:
    connected("jobs", "unpark", "--all")
    assert places(jobs.images(PARKED[0])) == [(0, "queued", False), (1, "queued", False), (2, "queued", True)]
    assert [image["id"] for image in jobs.images(PARKED[0])][:2] == [key("images", 20), key("images", 21)]
    [video] = jobs.videos(PARKED[1])
    assert (video["id"], video["image_index"], video["status"]) == (key("videos", 3), 0, "queued")
    assert places(jobs.images(PARKED[2])) == [(0, "queued", True)]
    assert places(jobs.images(PARKED[3])) == [(index, "queued", True) for index in range(3)]
    assert [image["prompt"] for image in jobs.images(PARKED[3])] == ["A mountain"] * 3
    assert [image["id"] for image in jobs.images(PARKED[4])] == [key("images", 111)]
    for job in PARKED:
        row = jobs.get(job)
        assert (row["status"], row["attempts"], row["errors"]) == ("queued", 0, [])
        assert isinstance(row["metadata"], dict)
        assert row["queue_at"] == row["start_tag"]


def test_one_that_was_begun_is_put_in_line_by_its_id_only(connected: Command, jobs: Jobs) -> None:
    outcome = connected("jobs", "unpark", BEGUN, PARKED[1])
    assert (outcome.code, outcome.out) == (0, f"The job {BEGUN} is queued.\nThe job {PARKED[1]} is queued.\n")
    assert in_line(jobs) == [BEGUN, PARKED[1]]
    assert places(jobs.images(BEGUN)) == [(0, "queued", False), (1, "queued", True), (2, "queued", True)]


def test_a_picture_that_is_there_already_stays(connected: Command, jobs: Jobs) -> None:
    jobs.run("update public.images set status = 'completed', image_url = '0.png' where id = %s", key("images", 80))
    connected("jobs", "unpark", BEGUN)
    assert [(i["image_index"], i["status"], i["image_url"]) for i in jobs.images(BEGUN)] == [
        (0, "completed", "0.png"), (1, "queued", None), (2, "queued", None),
    ]  # fmt: skip


def test_an_idle_worker_is_woken(connected: Command, db: Database) -> None:
    with db.connect() as ear:
        ear.execute("listen consumer_jobs")
        connected("jobs", "unpark", PARKED[0])
        assert [note.channel for note in ear.notifies(timeout=10, stop_after=1)] == ["consumer_jobs"]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--older-than", "100d"], [2, 3, 7, 10, 11]),
        (["--newer-than", "100d"], []),
        (["--older-than", "3h"], [2, 3, 7, 10, 11]),
        (["--older-than", "90min", "--newer-than", "2h"], []),
    ],
)
def test_all_may_mean_those_of_an_age(connected: Command, jobs: Jobs, options: list[str], numbers: list[int]) -> None:
    assert connected("jobs", "unpark", "--all", *options).out == f"Jobs put in line: {len(numbers)}.\n"
    assert sorted(in_line(jobs)) == [key("jobs", number) for number in numbers]


def test_the_age_is_that_of_the_job(connected: Command, jobs: Jobs) -> None:
    jobs.set(PARKED[0], created_at="now")
    jobs.run("update public.jobs set created_at = now() - interval '100 minutes' where id = %s", PARKED[1])
    assert connected("jobs", "unpark", "--all", "--newer-than", "1h").out == "Jobs put in line: 1.\n"
    assert in_line(jobs) == [PARKED[0]]
    assert connected("jobs", "unpark", "--all", "--older-than", "90min", "--newer-than", "2 h").out.endswith(": 1.\n")
    assert in_line(jobs) == [PARKED[0], PARKED[1]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Say which jobs: their IDs, or --all; `consumer jobs list --parked` shows them."),
        ([BEGUN, "--all"], "Say which jobs: their IDs, or --all; `consumer jobs list --parked` shows them."),
        ([BEGUN, "--older-than", "1h"], "--older-than and --newer-than go with --all."),
        (
            ["--all", "--older-than", "a week"],
            "--older-than must be a number of min, h or d, such as 30min, 12h or 7d; 'a week' is not.",
        ),
        (["abcdef"], "There is no job abcdef; `consumer jobs list` shows the newest ones."),
    ],
)
def test_what_is_not_said_clearly_is_a_sentence(connected: Command, options: list[object], sentence: str) -> None:
    refused = connected("jobs", "unpark", *options)
    assert (refused.code, refused.err) == (2, sentence + "\n")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (5, "is of a type that this system does not run."),
        (1, "is from before the queue, and completed; insert it anew."),
        (6, "is from before the queue, and failed; insert it anew."),
    ],
)
@pytest.mark.parametrize("action", ["unpark", "cancel", "retry"])
def test_what_is_not_parked_stays_and_is_told_why(
    connected: Command, jobs: Jobs, action: str, number: int, sentence: str
) -> None:
    job = key("jobs", number)
    before = jobs.rows(job)
    refused = connected("jobs", action, job)
    assert (refused.code > 0, refused.err) == (True, f"The job {job} {sentence}\n")
    assert jobs.rows(job) == before


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_a_parked_job_is_unparked_before_anything_else(connected: Command, action: str) -> None:
    refused = connected("jobs", action, PARKED[0])
    sentence = f"The job {PARKED[0]} is parked; `consumer jobs unpark {PARKED[0]}` puts it in line.\n"
    assert (refused.code, refused.err) == (2, sentence)


def test_a_job_in_line_is_not_parked(connected: Command, jobs: Jobs) -> None:
    job = jobs.add("sdxl_image_fast")
    before = jobs.rows(job)
    refused = connected("jobs", "unpark", job)
    assert (refused.code, refused.err) == (1, f"The job {job} is queued, and not parked.\n")
    assert jobs.rows(job) == before


def test_one_that_asks_for_too_much_stays_parked_and_keeps_no_other(connected: Command, jobs: Jobs) -> None:
    jobs.set(PARKED[0], metadata=Jsonb({"num_images": 99}))
    before = jobs.rows(PARKED[0])
    outcome = connected("jobs", "unpark", "--all")
    assert (outcome.code, outcome.out) == (1, "Jobs put in line: 4.\n")
    assert outcome.err == f"The job {PARKED[0]} stays parked: num_images must be a whole number from 1 to 6.\n"
    assert jobs.rows(PARKED[0]) == before


def test_a_job_that_waits_for_its_time_goes_on_waiting(connected: Command, jobs: Jobs) -> None:
    jobs.run("update public.jobs set available_at = now() + interval '1 hour' where id = %s", PARKED[2])
    connected("jobs", "unpark", PARKED[2])
    row = jobs.get(PARKED[2])
    assert (row["status"], row["engine"], row["queue_at"]) == ("queued", "wan", None)


def test_what_its_user_wrote_while_it_was_parked_counts_for_nothing(connected: Command, jobs: Jobs) -> None:
    jobs.run("update public.jobs set attempts = -5, priority = 99, max_attempts = 2000000000 where id = %s", PARKED[0])
    connected("jobs", "unpark", PARKED[0])
    row = jobs.get(PARKED[0])
    assert (row["status"], row["attempts"], row["priority"], row["max_attempts"]) == ("queued", 0, 0, None)


def test_an_image_of_nobodys_index_is_left_alone(connected: Command, jobs: Jobs) -> None:
    columns = {"user_id": jobs.user, "prompt": "", "job_id": PARKED[0], "image_index": -1, "status": "WEIRD"}
    image = jobs.insert("images", columns)
    connected("jobs", "unpark", PARKED[0])
    assert jobs.value("select status from public.images where id = %s", image) == "WEIRD"
