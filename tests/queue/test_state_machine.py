"""Workers and users in any order: after each step the rows are what the model says."""

from collections import defaultdict
from uuid import UUID

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from consumer.errors import LeaseLostError
from consumer.job import Job
from job_model import ModelJob
from jobs import ERROR, Hands, Jobs, Row
from postgres import Database

TYPES = ("sketch", "sdxl_image_fast")
TRIES = 3
LATER = 3600.0
WORKERS = st.integers(0, 2)
INDEXES = st.integers(0, 2)

Claim = tuple[Hands, Job]


class Interleaving(RuleBasedStateMachine):
    """Three workers and two users. Old claims are kept, and used again by workers that have lost them."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")
    sightings = Bundle("sightings")

    def __init__(self, db: Database, rows: Jobs, hands: list[Hands], users: list[UUID]) -> None:
        super().__init__()
        self.db, self.rows, self.hands, self.users = db, rows, hands, users
        self.model: dict[UUID, ModelJob] = {}
        self.beats: dict[UUID, int] = {}
        self.last_claim = rows.value("select nextval('consumer.claim_ids')")
        rows.run("delete from public.jobs")
        rows.run("delete from consumer.workers")

    def here(self, *places: str) -> list[ModelJob]:
        return [job for job in self.model.values() if job.place in places]

    # What users and applications do.

    @rule(
        target=jobs, user=st.integers(0, 1), job_type=st.sampled_from(TYPES), count=st.integers(1, 3),
        priority=st.sampled_from([0, 0, -1, 7]), tries=st.sampled_from([None, 1]),
        delayed=st.sampled_from([False, False, True]),
    )  # fmt: skip
    def insert(self, user: int, job_type: str, count: int, priority: int, tries: int | None, delayed: bool) -> ModelJob:
        at = self.rows.value("select now() + make_interval(secs => %s)", LATER) if delayed else None
        owner = self.users[user]
        job_id = self.rows.add(job_type, count, user_id=owner, priority=priority, max_attempts=tries, available_at=at)
        place = "later" if delayed else "line"
        job = ModelJob(job_id, owner, job_type, priority, tries or TRIES, ["queued"] * count, place)
        self.model[job_id] = job
        return job

    def ask(self, job: ModelJob, function: str) -> str | None:
        """Call a function as the job's user; None where there is no such job."""
        try:
            [[status]] = self.db.execute_as(job.user, f"select public.{function}(%s)", (job.id,))
        except psycopg.errors.NoDataFound:
            return None
        return status

    @rule(job=jobs)
    def cancel(self, job: ModelJob) -> None:
        status = self.ask(job, "cancel_job")
        if job.gone:
            assert status is None
            return
        if job.status in ("queued", "processing"):
            job.end("cancelled")
        assert status == job.status

    @rule(job=jobs)
    def ask_again(self, job: ModelJob) -> None:
        status = self.ask(job, "retry_job")
        if job.gone:
            assert status is None
            return
        if job.status in ("failed", "cancelled"):
            job.start_anew()
        assert status == job.status

    @rule(job=jobs)
    def delete(self, job: ModelJob) -> None:
        self.rows.run("delete from public.jobs where id = %s", job.id)
        self.model.pop(job.id, None)
        job.gone = True

    @rule(job=jobs, index=INDEXES)
    def replace(self, job: ModelJob, index: int) -> None:
        """The application brings a row of its own for an image."""
        if job.gone or index >= len(job.images) or index in job.own:
            return
        columns = {"user_id": job.user, "job_id": job.id, "image_index": index, "prompt": ""}
        self.rows.insert("images", columns)
        job.replace(index)

    @rule(job=jobs)
    def time_passes(self, job: ModelJob) -> None:
        if job.place == "later" and not job.gone:
            self.rows.set(job.id, available_at=self.rows.value("select now()"))
            job.place = "due"

    # What workers do.

    @rule(
        target=claims,
        worker=WORKERS,
        served=st.sampled_from([TYPES, TYPES[:1], TYPES[1:]]),
        limit=st.sampled_from([1, 1, 3]),
    )
    def claim(self, worker: int, served: tuple[str, ...], limit: int) -> list[Claim]:
        hands = self.hands[worker]
        line = [job for job in self.here("line") if job.job_type in served]
        order = self.order_of_service()
        claimed = hands.do(hands.queue.claim_jobs(served, limit))
        assert len(claimed) == min(limit, len(line))
        taken = [self.model[job.id] for job in claimed]
        assert all(job in line for job in taken)
        for job in taken:
            passed = [other for other in line if (other.job_type, other.priority) == (job.job_type, job.priority)]
            assert not [other for other in passed if order[other.id] < order[job.id] and other not in taken]
        for job, row in zip(taken, claimed, strict=True):
            assert row.claim_id > self.last_claim
            assert job.seed in (None, row.metadata["seed"])
            assert (row.max_attempts, row.user_id) == (job.tries, job.user)
            job.claim(hands.id, row)
        self.last_claim = max([self.last_claim, *(row.claim_id for row in claimed)])
        return multiple(*((hands, row) for row in claimed))

    def order_of_service(self) -> dict[UUID, Row]:
        rows = self.rows.run("select id, queue_at, created_at from public.jobs where queue_at is not null")
        return {row["id"]: (row["queue_at"], row["created_at"]) for row in rows}

    def found(self, claim: Claim) -> tuple[Hands, Job, ModelJob | None]:
        """The worker, its claim, and the job where it still holds it."""
        hands, row = claim
        job = self.model.get(row.id)
        return hands, row, job if job and job.held(row) else None

    @rule(claim=claims, index=INDEXES)
    def record(self, claim: Claim, index: int) -> None:
        hands, row, job = self.found(claim)
        if job is None:
            with pytest.raises(LeaseLostError):
                hands.record(row, index)
            return
        new = index < len(job.images) and job.images[index] != "completed"
        assert hands.record(row, index) == new
        if new:
            job.images[index] = "completed"

    @rule(claim=claims)
    def record_all(self, claim: Claim) -> None:
        known = self.model.get(claim[1].id)
        for index in range(len(known.images) if known else 1):
            self.record(claim, index)

    @rule(claim=claims, percent=st.integers(0, 99), index=INDEXES)
    def progress(self, claim: Claim, percent: int, index: int) -> None:
        hands, row, job = self.found(claim)
        hands.progress(row, percent, {index: percent})
        if job:
            job.advance(percent, index)

    @rule(claim=claims)
    def rewrite_the_prompt(self, claim: Claim) -> None:
        hands, row, job = self.found(claim)
        prompt = f"a harbour, in the words of claim {row.claim_id}"
        assert hands.do(hands.queue.store_prompt(row, prompt, {"result": "rewritten"})) == (job is not None)
        if job:
            job.prompt = prompt

    @rule(claim=claims)
    def complete(self, claim: Claim) -> None:
        hands, row, job = self.found(claim)
        known = self.model.get(row.id)
        repeated = known is not None and known.status == "completed" and known.claim_id == row.claim_id
        whole = job is not None and set(job.images) == {"completed"}
        count = len(known.images) if known else 1
        assert hands.complete(row, count) == (whole or repeated, job is not None)
        if job and whole:
            job.end("completed")

    @rule(claim=claims, delay=st.sampled_from([0.0, LATER]), give_back=st.booleans())
    def retry(self, claim: Claim, delay: float, give_back: bool) -> None:
        """As a worker does: where no attempt is left, the job fails."""
        hands, row, job = self.found(claim)
        if row.attempts >= row.max_attempts and not give_back:
            assert hands.fail(row) == (job is not None)
            if job:
                job.end("failed", error=True)
            return
        done = hands.do(hands.queue.retry_job(row, delay, ERROR, give_back=give_back))
        assert done == (job is not None)
        if job:
            job.requeue("later" if delay else "due", give_back=give_back, error=True)

    @rule(claim=claims)
    def fail(self, claim: Claim) -> None:
        hands, row, job = self.found(claim)
        assert hands.fail(row) == (job is not None)
        if job:
            job.end("failed", error=True)

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        hands, row, job = self.found(claim)
        assert hands.release(row) == (job is not None)
        if job:
            job.requeue("line", give_back=True)

    @rule(worker=WORKERS)
    def promote(self, worker: int) -> None:
        due = self.here("due")
        assert self.hands[worker].promote()[0] == len(due)
        for job in due:
            job.place = "line"

    @rule(worker=WORKERS)
    def beat(self, worker: int) -> None:
        hands = self.hands[worker]
        hands.beat()
        self.beats[hands.id] = self.beats.get(hands.id, -1) + 1
        held = {(job.id, job.claim_id) for job in self.model.values() if job.worker == hands.id}
        assert hands.do(hands.queue.held_jobs()) == held

    @rule(worker=WORKERS)
    def leave(self, worker: int) -> None:
        hands = self.hands[worker]
        hands.do(hands.queue.delete_worker())
        self.beats.pop(hands.id, None)

    @rule(target=sightings, worker=WORKERS)
    def watch(self, worker: int) -> tuple[UUID, int | None]:
        """Somebody notes how often a worker has sent a heartbeat."""
        worker_id = self.hands[worker].id
        return worker_id, self.beats.get(worker_id)

    @rule(worker=WORKERS, sighting=sightings)
    def rescue(self, worker: int, sighting: tuple[UUID, int | None]) -> None:
        victim, seen = sighting
        dead = self.beats.get(victim) in (None, seen)
        lost = [job for job in self.model.values() if job.worker == victim] if dead else []
        if dead:
            self.beats.pop(victim, None)
        for job in lost:
            job.rescue()
        assert dict(self.hands[worker].rescue(victim, seen)) == {job.id: job.status for job in lost}

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        images = defaultdict(list)
        for row in self.rows.run("select * from public.images order by image_index"):
            images[row["job_id"]].append(row)
        found = {row["id"]: row for row in self.rows.run("select * from public.jobs")}
        assert found.keys() == self.model.keys() == images.keys()
        for job in self.model.values():
            job.check(found[job.id], images[job.id])
        assert {row["id"]: row["beats"] for row in self.rows.run("select * from consumer.workers")} == self.beats


def test_workers_and_users_in_any_order_do_what_the_model_says(db, jobs, runner, database):
    hands, users = [Hands(runner, database, tries=TRIES) for _ in range(3)], [jobs.user, db.user()]
    run_state_machine_as_test(
        lambda: Interleaving(db, jobs, hands, users),
        settings=settings(max_examples=40, stateful_step_count=40, deadline=None, derandomize=True),
    )
