"""A job and its rows are one: made in the same transaction, from what was sent."""

import pytest
from psycopg.types.json import Jsonb

from jobs import Jobs
from postgres import Database


@pytest.mark.parametrize("count", [1, 2, 6])
def test_a_job_comes_with_a_queued_row_for_each_image(db: Database, jobs: Jobs, count: int) -> None:
    insert = (
        "insert into public.jobs (job_type, original_prompt, metadata) values ('sketch', 'A harbour', %s) returning id"
    )
    [(job_id,)] = db.execute_as(jobs.user, insert, [Jsonb({"num_images": count})])
    rows = [
        (
            r["image_index"],
            r["status"],
            r["user_id"],
            r["prompt"],
            r["metadata"],
            r["managed"],
            r["image_url"],
            r["seed"],
        )
        for r in jobs.images(job_id)
    ]
    assert rows == [(i, "queued", jobs.user, "A harbour", {}, True, None, None) for i in range(count)]
    assert jobs.videos(job_id) == []


@pytest.mark.parametrize(("job_type", "count"), [("sketch", 1), ("sdxl_image_fast", 3), ("image_high", 1)])
def test_a_job_that_asks_for_no_number_gets_its_types_own(jobs: Jobs, job_type: str, count: int) -> None:
    job_id = jobs.add(job_type, metadata={"num_images": None})
    assert [row["image_index"] for row in jobs.images(job_id)] == list(range(count))


@pytest.mark.parametrize(
    ("columns", "prompt"),
    [
        ({"original_prompt": "First", "metadata": {"prompt": "Second"}}, "First"),
        ({"metadata": {"prompt": "Second"}}, "Second"),
        ({}, ""),
    ],
)
def test_a_row_shows_the_prompt_as_it_was_sent(jobs: Jobs, columns, prompt: str) -> None:
    assert [row["prompt"] for row in jobs.images(jobs.add(**columns))] == [prompt]


@pytest.mark.parametrize("job_type", ["video_fast", "video7b_high_enhanced"])
def test_a_video_job_comes_with_one_row_in_videos(jobs: Jobs, job_type: str) -> None:
    job_id = jobs.add(job_type)
    [video] = jobs.videos(job_id)
    assert (video["image_index"], video["status"], video["user_id"], video["managed"]) == (0, "queued", jobs.user, True)
    assert jobs.images(job_id) == []


def test_a_job_that_is_rolled_back_leaves_no_rows(db: Database, jobs: Jobs) -> None:
    with db.as_user(jobs.user) as frontend:
        frontend.execute("insert into public.jobs (job_type) values ('sdxl_image_fast')")
        assert frontend.execute("select count(*) from public.images").fetchone() == (3,)
        frontend.rollback()
    assert jobs.value("select (select count(*) from public.jobs) + (select count(*) from public.images)") == 0


def test_a_job_of_somebody_elses_type_is_left_alone(db: Database, jobs: Jobs) -> None:
    insert = (
        "insert into public.jobs (user_id, job_type, status, attempts, priority, engine, queue_at, claim_id, metadata)"
        " values (%s, 'rv51_fast', 'processing', 2, 9, 'sdxl', now(), 1, '[7]') returning id"
    )
    [(job_id,)] = db.execute_as(jobs.user, insert, [jobs.user])
    job, images, videos = jobs.rows(job_id)
    assert (job["status"], job["attempts"], job["priority"], job["metadata"]) == ("processing", 2, 9, [7])
    assert (job["engine"], job["queue_at"], job["claim_id"], job["worker_id"]) == (None, None, None, None)
    assert (images, videos) == ([], [])


def test_a_job_is_in_line_behind_those_before_it(jobs: Jobs) -> None:
    first, second = (jobs.get(jobs.add("sdxl_image_fast")) for _ in range(2))
    assert first["engine"] == second["engine"] == "sdxl"
    assert first["queue_at"] == first["start_tag"] < second["start_tag"] == second["queue_at"]


def test_a_job_that_is_over_when_it_comes_gets_neither_rows_nor_a_place(jobs: Jobs) -> None:
    job, images, _ = jobs.rows(jobs.add(status="completed"))
    assert (job["queue_at"], images) == (None, [])


THOUSAND = (
    "insert into public.jobs (user_id, job_type, metadata) select %s, job_type, jsonb_build_object('num_images', n)"
    " from (values ('sketch', 1), ('sketch', 3), ('video_fast', 1), ('rv51_fast', 6)) as wanted (job_type, n),"
    " generate_series(1, 250)"
)


def test_a_thousand_jobs_in_one_insert_get_their_rows_set_by_set(db: Database, jobs: Jobs) -> None:
    with db.connect(db.admin_dsn, autocommit=False) as connection:
        connection.execute("set track_functions = 'pl'")
        connection.execute(THOUSAND, (jobs.user,))
        calls = connection.execute("select funcname, calls from pg_stat_xact_user_functions").fetchall()
        connection.commit()
    per_statement = {name: count for name, count in calls if name in {"create_rows", "link_named_rows", "make_room"}}
    assert per_statement == {"create_rows": 1}
    assert jobs.run(
        "select j.job_type, count(*) from public.images i join public.jobs j on j.id = i.job_id group by 1"
    ) == [{"job_type": "sketch", "count": 1000}]
    assert jobs.value("select count(*) from public.videos") == 250
    in_line = "select count(distinct (engine, queue_at)) from public.jobs where queue_at is not null"
    assert jobs.value(in_line) == 750, "each of ours has a place of its own"
