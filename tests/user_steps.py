"""What users and applications do with jobs, step by step, and what becomes of them by the model."""

from collections.abc import Callable
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from consumer.job import Job
from job_model import FINAL, ModelJob
from jobs import Hands, Jobs
from postgres import Database

TYPES = ("sketch", "sdxl_image_fast")
TRIES = 3
LATER = 3600.0
INDEXES = st.integers(0, 2)
JOBS = st.integers(0, 5)


def some_job_is(*states: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule that makes a difference only where a job has one of these states, or waits at one of these places."""
    return precondition(lambda self: any(job.status in states or job.place in states for job in self.model.values()))


class Users(RuleBasedStateMachine):
    """Two users, and an application that does as it likes; workers may be added."""

    def __init__(self, db: Database, rows: Jobs, hands: list[Hands], users: list[UUID]) -> None:
        super().__init__()
        self.db, self.rows, self.hands, self.users = db, rows, hands, users
        self.model: dict[UUID, ModelJob] = {}
        self.claims: list[tuple[Hands, Job]] = []
        self.beats: dict[UUID, int] = {}
        self.drawn: set[int] = set()
        self.limit: int | None = None
        self.swept = False
        for table in ("public.jobs", "consumer.workers", "consumer.user_limits"):
            rows.run(f"delete from {table}")
        # Which job is next must not depend on what was served before: a failure could not be shown again.
        rows.run("update consumer.clocks set tag = now()")

    def unfinished(self) -> list[ModelJob]:
        return [job for job in self.model.values() if job.status not in FINAL]

    def job(self, number: int) -> ModelJob:
        """Any job; small numbers stand for unfinished ones."""
        order = sorted(self.model.values(), key=lambda job: job.status in FINAL)
        return order[number % len(order)]

    def here(self, *places: str) -> list[ModelJob]:
        return [job for job in self.model.values() if job.place in places and not job.held_back]

    def arrive(self, limit: int | None) -> None:
        """Each user has a job in line, and the second one another for later; at most `limit` of theirs may run."""
        self.limit = limit
        self.rows.run("insert into consumer.user_limits (user_id, max_running) values (%s, %s)", self.users[1], limit)
        self.insert(0, TYPES[0], 2, 0, None, delayed=False)
        self.insert(1, TYPES[1], 1, 0, None, delayed=False)
        self.insert(1, TYPES[0], 1, 0, None, delayed=True)

    @precondition(lambda self: len(self.unfinished()) < 4)
    @rule(
        user=st.integers(0, 1), job_type=st.sampled_from(TYPES), count=st.integers(1, 3),
        priority=st.sampled_from([0, 0, -1, 7]), tries=st.sampled_from([None, 1]), delayed=st.booleans(),
    )  # fmt: skip
    def insert(self, user: int, job_type: str, count: int, priority: int, tries: int | None, *, delayed: bool) -> None:
        at = self.rows.value("select now() + make_interval(secs => %s)", LATER) if delayed else None
        owner = self.users[user]
        job_id = self.rows.add(job_type, count, user_id=owner, priority=priority, max_attempts=tries, available_at=at)
        place = "later" if delayed else "line"
        job = ModelJob(job_id, owner, job_type, priority, tries or TRIES, ["queued"] * count, place)
        self.model[job_id] = job

    def ask(self, job: ModelJob, function: str) -> str:
        """Call a function as the job's user."""
        [[status]] = self.db.execute_as(job.user, f"select public.{function}(%s)", (job.id,))
        return status

    @rule(number=JOBS)
    def cancel(self, number: int) -> None:
        job = self.job(number)
        status = self.ask(job, "cancel_job")
        if job.status in ("queued", "processing"):
            job.end("cancelled")
        assert status == job.status

    @some_job_is("failed", "cancelled")
    @rule(number=JOBS)
    def ask_again(self, number: int) -> None:
        job = self.job(number)
        status = self.ask(job, "retry_job")
        if job.status in ("failed", "cancelled"):
            job.start_anew()
        assert status == job.status

    @precondition(lambda self: len(self.model) > 3)
    @rule(number=JOBS)
    def delete(self, number: int) -> None:
        job = self.job(number)
        self.rows.run("delete from public.jobs where id = %s", job.id)
        del self.model[job.id]

    @rule(number=JOBS, index=INDEXES)
    def replace(self, number: int, index: int) -> None:
        """The application brings a row of its own for an image."""
        job = self.job(number)
        if index < len(job.images) and index not in job.own:
            self.rows.insert("images", {"user_id": job.user, "job_id": job.id, "image_index": index, "prompt": ""})
            job.replace(index)

    def time_passes(self) -> None:
        for job in self.here("later"):
            self.rows.set(job.id, available_at=self.rows.value("select now()"))
            job.place = "due"
