"""`consumer jobs`: the operator's view of the queue."""

from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from commands import Command
from jobs import ERROR, Jobs
from postgres import Database
from workers import Site


@pytest.fixture
def jobs(db: Database) -> Jobs:
    return Jobs(db)


def listed(connected: Command, *options: object) -> list[str]:
    """The ids that `consumer jobs list` shows."""
    return [job["id"] for job in connected("jobs", "list", "--json", *options).json]


def test_the_newest_jobs_come_first_and_no_more_than_asked_for(connected: Command, jobs: Jobs) -> None:
    ids = [str(jobs.add()) for _ in range(4)]
    assert listed(connected) == ids[::-1]
    assert listed(connected, "--limit", 2) == ids[:1:-1]
    refused = connected("jobs", "list", "--limit", 0)
    assert (refused.code, refused.err) == (2, "--limit must be a whole number from 1 to 10000.\n")


def test_jobs_are_listed_by_status_and_by_user(connected: Command, jobs: Jobs, db: Database) -> None:
    first, second = jobs.add(), jobs.add()
    jobs.run("select public.cancel_job(%s)", first)
    other = jobs.add(user_id=db.user())
    assert listed(connected, "--status", "cancelled") == [str(first)]
    assert listed(connected, "--user", jobs.user) == [str(second), str(first)]
    assert str(other) in listed(connected)
    refused = connected("jobs", "list", "--user", "ada")
    assert (refused.code, refused.err) == (2, "--user must be a UUID; 'ada' is not.\n")


def test_a_list_counts_what_is_done(connected: Command, jobs: Jobs) -> None:
    job_id = jobs.add(count=3)
    jobs.run("update public.images set status = 'completed' where job_id = %s and image_index < 2", job_id)
    [job] = connected("jobs", "list", "--json").json
    assert (job["done"], job["assets"]) == (2, 3)
    assert "2/3" in connected("jobs", "list").out


def test_an_empty_list_says_so(connected: Command) -> None:
    assert connected("jobs", "list").out == "No jobs.\n"
    assert connected("jobs", "list", "--json").json == []


def test_a_list_tells_which_jobs_wait_for_a_worker_that_is_not_there(
    connected: Command, jobs: Jobs, site: Site
) -> None:
    jobs.add("sdxl_image_fast")
    jobs.add("sdxl_image_fast")
    told = "2 queued sdxl_image_fast: no live worker serves them; `consumer run` starts one.\n"
    assert connected("jobs", "list").out.endswith(told)
    # One worker that serves nothing but the puppet's jobs, and one that serves all.
    site.start_idle()
    assert connected("jobs", "list").out.endswith(told)
    serving = {"types": ["sdxl_image_fast"], "id": uuid4()}
    insert = (
        "insert into consumer.workers (id, name, engines, job_types, lease_seconds) values (%s, 'w', '{sdxl}', %s, 45)"
    )
    jobs.run(insert, serving["id"], serving["types"])
    assert told not in connected("jobs", "list").out
    jobs.run("update consumer.workers set heartbeat_at = now() - interval '91 seconds' where id = %s", serving["id"])
    assert connected("jobs", "list").out.endswith(told)


def test_a_job_is_shown_with_its_images_and_its_errors(connected: Command, jobs: Jobs) -> None:
    prompt = "lake " * 40
    job_id = jobs.add(count=2, original_prompt=prompt)
    jobs.set(job_id, errors=[ERROR])
    shown = connected("jobs", "show", job_id, "--json").json
    assert (shown["id"], shown["user_id"], shown["status"]) == (str(job_id), str(jobs.user), "queued")
    assert shown["prompt"] == prompt[:79] + "…"
    assert shown["errors"] == [ERROR]
    assert [asset["index"] for asset in shown["assets"]] == [0, 1]
    text = connected("jobs", "show", job_id).out
    assert all(word in text for word in (str(job_id), prompt[:79], "OddError", "It broke."))


def test_what_a_user_wrote_is_shown_as_it_is(connected: Command, jobs: Jobs) -> None:
    job_id = jobs.add(original_prompt="[red]a lake[/] [/nonsense]")
    assert "[red]a lake[/] [/nonsense]" in connected("jobs", "show", job_id).out


@pytest.mark.parametrize("length", [6, 8, 9, 13, 36])
def test_an_id_may_be_shortened_as_long_as_it_is_unique(connected: Command, jobs: Jobs, length: int) -> None:
    job_id, _ = jobs.add(id="abcdef00-1234-4567-89ab-000000000001"), jobs.add(id="abcdee00-1234-4567-89ab-000000000001")
    shown = connected("jobs", "show", str(job_id).upper()[:length], "--json")
    assert (shown.code, UUID(shown.json["id"])) == (0, job_id)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("abcdef", "More than one job begins with abcdef: give more of its ID."),
        ("abcde", "A job's ID is a UUID, or its first 6 characters or more; 'abcde' is neither."),
        ("a lake", "A job's ID is a UUID, or its first 6 characters or more; 'a lake' is neither."),
        ("123456", "There is no job 123456; `consumer jobs list` shows the newest ones."),
    ],
)
@pytest.mark.parametrize("action", ["show", "retry", "cancel"])
def test_an_id_of_no_single_job_is_refused(
    connected: Command, jobs: Jobs, action: str, text: str, sentence: str
) -> None:
    for last in "12":
        jobs.add(id=f"abcdef00-1234-4567-89ab-00000000000{last}")
    refused = connected("jobs", action, text)
    assert (refused.code, refused.err) == (2, sentence + "\n")


def test_a_cancelled_job_is_retried(connected: Command, jobs: Jobs) -> None:
    job_id = jobs.add(count=2)
    assert connected("jobs", "cancel", job_id).out == f"The job {job_id} is cancelled.\n"
    assert [image["status"] for image in jobs.images(job_id)] == ["cancelled"] * 2
    assert connected("jobs", "retry", job_id).out == f"The job {job_id} is queued.\n"
    assert [image["status"] for image in jobs.images(job_id)] == ["queued"] * 2


@pytest.mark.parametrize(
    ("action", "status", "sentence"),
    [
        ("retry", "queued", "only a failed or cancelled job can be retried"),
        ("retry", "completed", "only a failed or cancelled job can be retried"),
        ("cancel", "completed", "it has ended, so there is nothing to cancel"),
        ("cancel", "cancelled", "it has ended, so there is nothing to cancel"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    connected: Command, jobs: Jobs, action: str, status: str, sentence: str
) -> None:
    job_id = jobs.add()
    jobs.set(job_id, status=status)
    before = jobs.rows(job_id)
    refused = connected("jobs", action, job_id)
    assert (refused.code, refused.err) == (1, f"The job {job_id} is {status}: {sentence}.\n")
    assert jobs.rows(job_id) == before


def test_a_retry_beyond_a_users_limit_is_refused_in_a_sentence(connected: Command, jobs: Jobs) -> None:
    job_id = jobs.add()
    assert connected("jobs", "cancel", job_id).code == 0
    jobs.add()
    jobs.run("insert into consumer.user_limits (user_id, max_queued) values (%s, 1)", jobs.user)
    refused = connected("jobs", "retry", job_id)
    assert refused.code == 2
    assert refused.err == (
        f"The job {job_id} stays as it is: At most 1 of your jobs may be queued at a time; "
        "send this one again when one has started.\n"
    )
    assert jobs.get(job_id)["status"] == "cancelled"


def test_another_consumers_job_is_left_to_it(connected: Command, jobs: Jobs) -> None:
    job_id = jobs.insert("jobs", {"user_id": jobs.user, "job_type": "rv51_fast", "metadata": Jsonb({})})
    refused = connected("jobs", "cancel", job_id)
    assert (refused.code, refused.err) == (2, f"The job {job_id} is of a type that this system does not run.\n")
    assert jobs.get(job_id)["status"] == "queued"
