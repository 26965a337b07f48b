"""What a user may not send: refused in one sentence, and nothing is inserted."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from jobs import Jobs, adapted
from postgres import Database

NOW = "2026-01-01T00:00:00Z"


def send(db: Database, user: UUID, **columns: Any) -> UUID:
    """Insert a job as this user; returns its id."""
    columns = {"job_type": "sdxl_image_fast", **columns}
    names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
    statement = f"insert into public.jobs ({names}) values ({places}) returning id"
    [(job_id,)] = db.execute_as(user, statement, [adapted(value) for value in columns.values()])
    return job_id


def send_number(db: Database, user: UUID, number: str) -> UUID:
    """Insert a job with `number`, as JSON, for num_images; its medium is image, and 6 the most."""
    return send(db, user, metadata=f'{{"num_images": {number}}}')


def assert_refused(jobs: Jobs, caught: pytest.ExceptionInfo[psycopg.Error], sentence: str) -> None:
    assert caught.value.diag.message_primary == sentence
    assert jobs.value("select count(*) from public.jobs") == 0
    assert jobs.value("select count(*) from public.images") == 0


SET_BY_THE_QUEUE = {
    "status": "completed",
    "attempts": 1,
    "max_attempts": 1000,
    "priority": 1,
    "available_at": NOW,
    "start_tag": NOW,
    "queue_at": NOW,
    "engine": "sdxl",
    "worker_id": str(uuid4()),
    "claim_id": 1,
    "started_at": NOW,
    "completed_at": NOW,
    "error_message": "It broke.",
    "errors": [{"attempt": 1}],
}


@pytest.mark.parametrize("column", SET_BY_THE_QUEUE)
def test_what_the_queue_sets_is_not_to_be_sent(db, jobs, column: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        send(db, jobs.user, **{column: SET_BY_THE_QUEUE[column]})
    assert_refused(jobs, caught, f"{column} is set by the queue; leave it out.")


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled", "anything"])
def test_no_status_but_queued_is_to_be_sent(db, jobs, status: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        send(db, jobs.user, status=status)
    assert_refused(jobs, caught, "status is set by the queue; leave it out.")


def test_a_job_for_somebody_else_is_refused(db, jobs) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        send(db, jobs.user, user_id=db.user())
    assert_refused(jobs, caught, "user_id must be your own id.")


def test_a_job_for_somebody_else_of_a_type_that_is_not_ours_is_refused_by_row_level_security(db, jobs) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        send(db, jobs.user, user_id=db.user(), job_type="rv51_fast")
    assert_refused(jobs, caught, 'new row violates row-level security policy for table "jobs"')


@pytest.mark.parametrize(
    "number",
    ['3.7', '"NaN"', "[3]", "1000000000", "0", "-1", "true", "false", "{}", '""', "1e400", "-1e400", "1e-400", "7",
     '"7"', '"0"', '"-1"', '"3.7"', '"1e1"', '"Infinity"', '"3 "', '"3\\n"', '"0x3"', '"99999999999999999999"', "[]",
     '"three"', "9" * 400, '{"a": 1}', "0.9999999999999999999999", '"\\u0663"'],
)  # fmt: skip
def test_a_number_of_images_that_is_not_a_whole_number_in_range_is_refused(db, jobs, number: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        send_number(db, jobs.user, number)
    assert_refused(jobs, caught, "num_images must be a whole number from 1 to 6.")


@pytest.mark.parametrize(
    ("number", "count"), [("3", 3), ('"3"', 3), ("3.0", 3), ("1", 1), ("6", 6), ("null", 3), ("30e-1", 3)]
)
def test_a_number_of_images_in_range_is_made_as_many_rows(db, jobs, number: str, count: int) -> None:
    job_id = send_number(db, jobs.user, number)
    assert [row["image_index"] for row in jobs.images(job_id)] == list(range(count))


def test_the_limit_is_the_job_types_own(db, jobs) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        send(db, jobs.user, job_type="video_fast", metadata={"num_images": 2})
    assert_refused(jobs, caught, "num_images must be a whole number from 1 to 1.")


@pytest.mark.parametrize("metadata", ["[]", '"text"', "3", "null", "true", '[{"num_images": 1}]'])
def test_metadata_that_is_no_object_is_refused(db, jobs, metadata: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        send(db, jobs.user, metadata=metadata)
    assert_refused(jobs, caught, "metadata must be a JSON object.")


KIB_64 = 64 * 1024
AROUND = len('{"a": ""}')


@pytest.mark.parametrize(
    ("column", "largest"),
    [
        ("metadata", {"a": "x" * (KIB_64 - AROUND)}),
        ("original_prompt", "x" * KIB_64),
        ("enhanced_prompt", "é" * (KIB_64 // 2)),
    ],
)
def test_what_is_larger_than_64_kib_is_refused(db, jobs, column: str, largest: Any) -> None:
    larger = {"a": largest["a"] + "x"} if column == "metadata" else largest + "x"
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        send(db, jobs.user, **{column: larger})
    assert_refused(jobs, caught, f"{column} must be at most 64 KiB.")
    assert jobs.get(send(db, jobs.user, **{column: largest}))[column] == largest


def test_a_key_of_more_than_255_characters_is_refused(db, jobs) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        send(db, jobs.user, idempotency_key="é" * 256)
    assert_refused(jobs, caught, "idempotency_key must be at most 255 characters.")
    assert jobs.get(send(db, jobs.user, idempotency_key="é" * 255))["idempotency_key"] == "é" * 255


@pytest.mark.parametrize("medium", ["image", "video"])
@pytest.mark.parametrize("of", ["somebody else", "nobody"])
def test_a_result_that_is_not_the_users_own_is_refused(db, jobs, medium: str, of: str) -> None:
    result = uuid4() if of == "nobody" else jobs.insert(f"{medium}s", {"user_id": db.user()})
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        send(db, jobs.user, **{f"{medium}_id": result})
    article = {"image": "an image", "video": "a video"}[medium]
    assert caught.value.diag.message_primary == f"{medium}_id must name {article} of your own."
    assert jobs.value("select count(*) from public.jobs") == 0


def test_one_bad_row_refuses_the_whole_insert(db, jobs) -> None:
    statement = "insert into public.jobs (job_type, metadata) select 'sketch', jsonb_build_object('num_images', n) from"
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        db.execute_as(jobs.user, f"{statement} generate_series(1, 7) as n")
    assert_refused(jobs, caught, "num_images must be a whole number from 1 to 6.")


HARMLESS = {
    "status": "queued",
    "attempts": 0,
    "max_attempts": 3,
    "priority": 0,
    "available_at": None,
    "error_message": None,
    "errors": [],
    "metadata": {},
    "idempotency_key": "a key",
    "created_at": NOW,
    "id": "00000000-0000-4000-8000-000000000001",
    "original_prompt": "A harbour",
}


@pytest.mark.parametrize("column", HARMLESS)
def test_what_changes_nothing_is_no_offence(db, jobs, column: str) -> None:
    job = jobs.get(send(db, jobs.user, **{column: HARMLESS[column]}))
    assert (job["user_id"], job["status"], job["engine"], job["attempts"]) == (jobs.user, "queued", "sdxl", 0)
    assert job["queue_at"] == job["start_tag"] is not None


def test_nulls_are_as_good_as_silence(db, jobs) -> None:
    silent = {"user_id": None, "status": None, "metadata": None}
    job = jobs.get(send(db, jobs.user, **silent))
    assert (job["user_id"], job["status"], job["metadata"]) == (jobs.user, "queued", {})
    assert len(jobs.images(job["id"])) == 3


def test_own_results_may_be_named(db, jobs) -> None:
    image = jobs.insert("images", {"user_id": jobs.user})
    assert jobs.get(send(db, jobs.user, image_id=image))["image_id"] == image


def test_an_operator_may_set_what_a_user_may_not(jobs) -> None:
    job = jobs.get(jobs.add(priority=5, max_attempts=10, available_at="2100-01-01T00:00:00Z"))
    assert (job["priority"], job["max_attempts"]) == (5, 10)
    assert (job["queue_at"], job["start_tag"]) == (None, None), "it waits for its time, and gets its place then"


def test_nobody_inserts_a_job_that_is_processing_for_no_worker_would_ever_end_it(db, jobs) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        jobs.add(status="processing")
    assert_refused(jobs, caught, "status must not be processing: only a claim makes it so.")


def test_a_users_job_is_created_now_whatever_was_sent(db, jobs) -> None:
    job_id = send(db, jobs.user, created_at="infinity")
    assert jobs.value("select now() - created_at between '0' and '1 hour' from public.jobs where id = %s", job_id)
