"""cancel_job and retry_job, as a frontend calls them."""

from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from consumer.errors import LeaseLostError
from consumer.job import Medium
from ear import Ear
from jobs import ERROR, Hands, Jobs
from postgres import Database

VIDEO = ("video_fast", 1, Medium.video)


class Scene:
    """One job of one user, brought to a state by a worker."""

    def __init__(self, db: Database, jobs: Jobs, worker: Hands) -> None:
        self.db, self.jobs, self.worker = db, jobs, worker

    def bring(self, status: str, job_type: str = "sketch", count: int = 3, medium: Medium = Medium.image) -> UUID:
        """A job in this state; the worker that has, or had, three images in hand has recorded the first of them."""
        job_id = self.jobs.add(job_type, count)
        if status == "queued":
            return job_id
        self.job = self.worker.take(job_type)
        recorded = count if status == "completed" else count // 2
        for index in range(recorded):
            self.worker.record(self.job, index, medium)
        if status == "completed":
            assert self.worker.complete(self.job, count) == (True, True)
        elif status == "failed":
            assert self.worker.fail(self.job)
        elif status == "cancelled":
            assert self.call("cancel_job", job_id) == "cancelled"
        return job_id

    def call(self, function: str, job_id: UUID, user: UUID | None = None, role: str = "authenticated") -> str:
        """What the function returns to this user, the job's own by default."""
        [(status,)] = self.db.execute_as(user or self.jobs.user, f"select public.{function}(%s)", [job_id], role)
        return status

    def statuses(self, job_id: UUID) -> tuple[str, list[str]]:
        """The job's status, and those of its rows."""
        job, images, videos = self.jobs.rows(job_id)
        return job["status"], [row["status"] for row in [*images, *videos]]


@pytest.fixture
def scene(db: Database, jobs: Jobs, worker: Hands) -> Scene:
    return Scene(db, jobs, worker)


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [
        ("queued", "cancelled", ["cancelled", "cancelled", "cancelled"]),
        ("processing", "cancelled", ["completed", "cancelled", "cancelled"]),
        ("completed", "completed", ["completed", "completed", "completed"]),
        ("failed", "failed", ["completed", "failed", "failed"]),
        ("cancelled", "cancelled", ["completed", "cancelled", "cancelled"]),
    ],
)
def test_cancel(scene: Scene, before: str, after: str, rows: list[str]) -> None:
    job_id = scene.bring(before)
    unchanged = scene.jobs.rows(job_id)
    assert scene.call("cancel_job", job_id) == after
    assert scene.statuses(job_id) == (after, rows)
    if before == after:
        assert scene.jobs.rows(job_id) == unchanged


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [
        ("queued", "queued", ["queued", "queued", "queued"]),
        ("processing", "processing", ["completed", "queued", "queued"]),
        ("completed", "completed", ["completed", "completed", "completed"]),
        ("failed", "queued", ["completed", "queued", "queued"]),
        ("cancelled", "queued", ["completed", "queued", "queued"]),
    ],
)
def test_retry(scene: Scene, before: str, after: str, rows: list[str]) -> None:
    job_id = scene.bring(before)
    unchanged = scene.jobs.rows(job_id)
    assert scene.call("retry_job", job_id) == after
    assert scene.statuses(job_id) == (after, rows)
    if before == after:
        assert scene.jobs.rows(job_id) == unchanged


@pytest.mark.parametrize("status", ["queued", "processing"])
def test_a_video_job_is_cancelled_and_retried_with_its_row(scene: Scene, status: str) -> None:
    job_id = scene.bring(status, *VIDEO)
    assert scene.call("cancel_job", job_id) == "cancelled"
    assert scene.statuses(job_id) == ("cancelled", ["cancelled"])
    assert scene.call("retry_job", job_id) == "queued"
    assert scene.statuses(job_id) == ("queued", ["queued"])


@pytest.mark.parametrize("status", ["queued", "processing"])
def test_a_cancelled_job_stands_in_no_line_and_in_nobodys_hands(scene: Scene, status: str) -> None:
    job_id = scene.bring(status)
    scene.call("cancel_job", job_id)
    job = scene.jobs.get(job_id)
    assert (job["queue_at"], job["available_at"], job["worker_id"]) == (None, None, None)
    assert job["completed_at"] is not None
    assert scene.worker.claim() is None


def test_a_job_that_waits_for_its_time_can_be_cancelled(scene: Scene) -> None:
    job_id = scene.jobs.add(available_at="2100-01-01T00:00:00Z")
    assert scene.call("cancel_job", job_id) == "cancelled"
    assert scene.worker.promote() == (0, None)


def test_a_worker_writes_nothing_more_once_its_job_is_cancelled(scene: Scene) -> None:
    job_id = scene.bring("processing")
    scene.call("cancel_job", job_id)
    cancelled = scene.jobs.rows(job_id)
    with pytest.raises(LeaseLostError):
        scene.worker.record(scene.job, 1)
    assert scene.worker.complete(scene.job, 3) == (False, False)
    assert not scene.worker.fail(scene.job)
    assert scene.jobs.rows(job_id) == cancelled


def test_the_worker_of_a_running_job_is_told_which_one_to_stop(db: Database, scene: Scene) -> None:
    ear = Ear(db)
    job_id = scene.bring("processing")
    scene.call("cancel_job", job_id)
    scene.call("cancel_job", job_id)
    assert ear.heard() == [("consumer_cancel", str(job_id))]


def test_nobody_is_told_of_a_cancel_that_stops_nothing(db: Database, scene: Scene) -> None:
    ear = Ear(db)
    for status in ("queued", "completed", "failed"):
        scene.call("cancel_job", scene.bring(status))
    assert ear.heard() == []


def test_workers_are_woken_for_a_retried_job_and_for_no_other(db: Database, scene: Scene) -> None:
    ear = Ear(db)
    failed = scene.bring("failed")
    assert ear.heard() == []
    scene.call("retry_job", failed)
    assert ear.heard() == [("consumer_jobs", "")]
    scene.call("retry_job", failed)
    assert ear.heard() == []


def test_a_retried_job_goes_behind_those_that_are_queued_and_before_those_that_come(scene: Scene) -> None:
    failed = scene.bring("failed")
    earlier = scene.jobs.add()
    scene.call("retry_job", failed)
    later = scene.jobs.add()
    tags = [scene.jobs.get(job_id)["start_tag"] for job_id in (earlier, failed, later)]
    assert tags == sorted(tags)
    assert len(set(tags)) == 3
    assert [scene.worker.take().id for _ in range(3)] == [earlier, failed, later]


def test_a_retried_job_starts_afresh_and_keeps_its_history_and_its_request(scene: Scene) -> None:
    job_id = scene.bring("failed")
    before = scene.jobs.get(job_id)
    assert before["errors"] == [ERROR]
    assert before["metadata"]["error_type"] == "OddError"
    scene.call("retry_job", job_id)
    after = scene.jobs.get(job_id)
    assert (after["attempts"], after["error_message"], after["started_at"], after["completed_at"]) == (
        0,
        None,
        None,
        None,
    )
    assert after["errors"] == [ERROR]
    assert after["metadata"] == {"num_images": 3, "seed": before["metadata"]["seed"]}
    images = scene.jobs.images(job_id)
    assert [row["error_message"] for row in images] == [None, None, None]
    assert [row["image_url"] is not None for row in images] == [True, False, False]


def test_the_late_write_of_the_attempt_before_a_retry_changes_nothing(scene: Scene) -> None:
    job_id = scene.bring("processing")
    late = scene.job
    scene.call("cancel_job", job_id)
    scene.call("retry_job", job_id)
    assert scene.worker.take().claim_id > late.claim_id
    before = scene.jobs.rows(job_id)
    with pytest.raises(LeaseLostError):
        scene.worker.record(late, 1)
    assert scene.jobs.rows(job_id) == before


def foreign(scene: Scene) -> UUID:
    return scene.bring("failed")


def unknown(scene: Scene) -> UUID:
    return uuid4()


def not_ours(scene: Scene) -> UUID:
    return scene.jobs.add("rv51_fast")


@pytest.mark.parametrize("function", ["cancel_job", "retry_job"])
@pytest.mark.parametrize("which", [foreign, unknown, not_ours])
def test_a_job_that_is_not_the_users_own_is_as_good_as_none(
    scene: Scene, function: str, which: Callable[[Scene], UUID]
) -> None:
    job_id = which(scene)
    user = scene.db.user() if which is foreign else scene.jobs.user
    before = scene.jobs.run("select * from public.jobs")
    with pytest.raises(psycopg.ProgrammingError) as caught:
        scene.call(function, job_id, user)
    assert (caught.value.sqlstate, caught.value.diag.message_primary) == ("PT404", "There is no such job of yours.")
    assert scene.jobs.run("select * from public.jobs") == before


def test_a_request_without_a_user_finds_no_job(scene: Scene) -> None:
    job_id = scene.bring("queued")
    with pytest.raises(psycopg.ProgrammingError, match="There is no such job of yours"):
        scene.db.execute_as(None, "select public.cancel_job(%s)", [job_id])
    assert scene.statuses(job_id)[0] == "queued"


@pytest.mark.parametrize(
    ("function", "before", "after"), [("cancel_job", "queued", "cancelled"), ("retry_job", "failed", "queued")]
)
def test_the_service_role_may_do_it_for_anybody(scene: Scene, function: str, before: str, after: str) -> None:
    job_id = scene.bring(before)
    assert scene.db.execute_as(None, f"select public.{function}(%s)", [job_id], "service_role") == [(after,)]


def test_a_row_that_the_application_left_without_a_status_is_cancelled_too(scene: Scene) -> None:
    job_id = scene.bring("queued", *VIDEO)
    scene.jobs.run("alter table public.videos alter column status drop not null")
    scene.jobs.run("update public.videos set status = null where job_id = %s", job_id)
    scene.call("cancel_job", job_id)
    assert scene.statuses(job_id) == ("cancelled", ["cancelled"])
    scene.jobs.run("alter table public.videos alter column status set not null")
