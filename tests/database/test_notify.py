"""The notification that wakes an idle worker, and when there is none."""

from uuid import uuid4

import psycopg
import pytest

from ear import Ear
from jobs import Hands, Jobs
from postgres import Database

HINT = ("consumer_jobs", "")


@pytest.fixture
def ear(db: Database) -> Ear:
    return Ear(db)


def stand_by(jobs: Jobs, engines: list[str], idle: bool = True, silent_for: float = 0.0) -> None:
    """A worker's row whose last heartbeat was `silent_for` seconds ago; its lease is 45 seconds."""
    jobs.run(
        "insert into consumer.workers (id, name, engines, job_types, lease_seconds, heartbeat_at, idle_since) values"
        " (%s, 'w', %s, array(select job_type from consumer.job_types where engine = any (%s)), 45,"
        "  now() - make_interval(secs => %s), case when %s then now() end)",
        uuid4(), engines, engines, silent_for, idle,
    )  # fmt: skip


def many(jobs: Jobs, count: int, *job_types: str) -> None:
    jobs.run(
        "insert into public.jobs (user_id, job_type)"
        " select %s, job_type from unnest(%s::text[]) as job_type, generate_series(1, %s)",
        jobs.user, list(job_types), count,
    )  # fmt: skip


def test_an_idle_worker_is_woken_by_each_job(jobs, ear) -> None:
    stand_by(jobs, ["sketch"])
    for _ in range(2):
        jobs.add()
        assert ear.heard() == [HINT]


def test_a_thousand_jobs_in_one_insert_wake_it_once(jobs, ear) -> None:
    stand_by(jobs, ["sketch"])
    many(jobs, 1000, "sketch")
    assert ear.heard() == [HINT]


@pytest.mark.parametrize("idle", [["wan"], ["sketch"], ["sketch", "wan"]])
def test_a_batch_for_two_engines_wakes_whoever_waits_for_one_of_them(jobs, ear, idle) -> None:
    stand_by(jobs, ["sketch", "sdxl", "wan"], idle=False)
    stand_by(jobs, idle)
    many(jobs, 10, "sketch", "image_fast")
    assert ear.heard() == [HINT]


def test_with_no_worker_at_all_nobody_is_woken(jobs, ear) -> None:
    jobs.add()
    assert ear.heard() == []


@pytest.mark.parametrize(
    "worker",
    [
        {"engines": ["sketch"], "idle": False},
        {"engines": ["sdxl", "wan"]},
        {"engines": ["sketch"], "silent_for": 91.0},
    ],
    ids=["busy", "of another engine", "silent for two leases"],
)
def test_a_worker_that_would_not_take_the_job_is_not_woken(jobs, ear, worker) -> None:
    stand_by(jobs, **worker)
    jobs.add()
    assert ear.heard() == []


def test_a_worker_that_missed_some_heartbeats_is_still_woken(jobs, ear) -> None:
    stand_by(jobs, ["sketch"], silent_for=80)
    jobs.add()
    assert ear.heard() == [HINT]


@pytest.mark.parametrize(
    "columns", [{"job_type": "rv51_fast"}, {"status": "completed"}], ids=["not ours", "over already"]
)
def test_a_row_that_is_no_work_for_us_wakes_nobody(jobs, ear, columns) -> None:
    stand_by(jobs, ["sketch", "sdxl", "wan"])
    jobs.add(**columns)
    assert ear.heard() == []


def test_a_worker_that_goes_idle_between_insert_and_commit_is_woken(db, jobs, worker, ear) -> None:
    worker.queue.served = ("sketch",)
    worker.beat(idle=False)
    with db.connect(autocommit=False) as frontend:
        frontend.execute("insert into public.jobs (user_id, job_type) values (%s, 'sketch')", (jobs.user,))
        worker.do(worker.queue.mark_idle())
        assert worker.claim() is None
        assert ear.heard() == []
        frontend.commit()
    assert ear.heard() == [HINT]


def test_a_worker_that_finds_work_between_insert_and_commit_is_left_in_peace(db, jobs, worker, ear) -> None:
    worker.queue.served = ("sketch",)
    worker.beat(idle=True)
    jobs.add()
    assert ear.heard() == [HINT]
    with db.connect(autocommit=False) as frontend:
        frontend.execute("insert into public.jobs (user_id, job_type) values (%s, 'sketch')", (jobs.user,))
        worker.take()
        frontend.commit()
    assert ear.heard() == []


def test_a_heartbeat_that_was_sent_before_the_worker_went_idle_and_comes_after_changes_nothing(
    jobs, worker, ear
) -> None:
    worker.queue.served = ("sketch",)
    worker.beat(idle=False)
    worker.do(worker.queue.mark_idle())
    worker.beat(idle=False)
    jobs.add()
    assert ear.heard() == [HINT]


def test_an_insert_that_is_rolled_back_wakes_nobody(db, jobs, ear) -> None:
    stand_by(jobs, ["sketch"])
    with db.connect(autocommit=False) as frontend:
        frontend.execute("insert into public.jobs (user_id, job_type) values (%s, 'sketch')", (jobs.user,))
        frontend.rollback()
    assert ear.heard() == []


def test_an_insert_that_goes_on_after_a_savepoint_was_given_up_wakes_the_worker(db, jobs, ear) -> None:
    stand_by(jobs, ["sketch"])
    insert = "insert into public.jobs (user_id, job_type) values (%s, 'sketch')"
    with db.connect(autocommit=False) as frontend:
        frontend.execute("savepoint before")
        frontend.execute(insert, (jobs.user,))
        frontend.execute("set constraints all immediate")
        frontend.execute("rollback to savepoint before")
        frontend.execute(insert, (jobs.user,))
        frontend.commit()
    assert ear.heard() == [HINT]


def test_nothing_that_a_worker_says_while_it_works_wakes_anybody(jobs, worker: Hands, ear) -> None:
    stand_by(jobs, ["sketch"])
    jobs.add()
    assert ear.heard() == [HINT]
    job = worker.take()
    for percent in (10, 50, 90):
        worker.beat()
        worker.progress(job, percent, {0: percent})
    worker.record(job)
    worker.complete(job)
    worker.beat(idle=True)
    assert ear.heard() == []


def test_a_frontend_whose_user_may_not_read_the_workers_wakes_them_all_the_same(db, jobs, ear) -> None:
    stand_by(jobs, ["sketch"])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute_as(jobs.user, "select from consumer.workers")
    db.execute_as(jobs.user, "insert into public.jobs (job_type) values ('sketch')")
    assert ear.heard() == [HINT]
