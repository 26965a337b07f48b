"""Workers and users in any order: after each step the rows are what the model says."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from consumer.errors import LeaseLostError
from consumer.job import Job, Medium
from job_model import ModelJob
from jobs import ERROR, Hands, result
from user_steps import INDEXES, LATER, TRIES, TYPES, Users, some_job_is

WORKERS = st.integers(0, 2)
CLAIMS = st.integers(0, 5)
"""Mostly one that holds."""


def claimed(write: Callable[..., None]) -> Callable[..., None]:
    """A rule for whoever has ever had a claim."""
    return precondition(lambda self: self.claims)(write)


async def together(works: Iterable[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*works, return_exceptions=True)


class Interleaving(Users):
    """Three workers as well. Their claims are kept, and used again by workers that have lost them."""

    @initialize(limit=st.sampled_from([None, 1, 2]))
    def begin(self, limit: int | None) -> None:
        """One worker has lost a job, and another one has it now."""
        self.arrive(limit)
        self.claim(0, TYPES[:1], 1)
        self.release(0)
        self.claim(1, TYPES[:1], 1)

    @some_job_is("line")
    @rule(worker=WORKERS, served=st.sampled_from([TYPES, TYPES[:1], TYPES[1:]]), limit=st.sampled_from([1, 1, 3]))
    def claim(self, worker: int, served: tuple[str, ...], limit: int) -> None:
        hands = self.hands[worker]
        line = [job for job in self.here("line") if job.job_type in served]
        order = self.order_of_service()
        found = hands.do(hands.queue.claim_jobs(served, limit))
        assert len(found) == min(limit, len(line))
        taken = [self.model[row.id] for row in found]
        left = [job for job in line if job not in taken]
        for job, row in zip(taken, found, strict=True):
            assert job in line
            beside = [
                order[other.id] for other in left if (other.job_type, other.priority) == (job.job_type, job.priority)
            ]
            assert order[job.id] <= min(beside, default=order[job.id])
            assert row.claim_id not in self.drawn
            assert job.seed in (None, row.metadata["seed"])
            assert (row.max_attempts, row.user_id) == (job.tries, job.user)
            job.claim(hands.id, row)
            self.drawn.add(row.claim_id)
            self.claims.append((hands, row))

    def order_of_service(self) -> dict[UUID, Any]:
        rows = self.rows.run("select id, queue_at, created_at from public.jobs where queue_at is not null")
        return {row["id"]: (row["queue_at"], row["created_at"]) for row in rows}

    def holds(self, row: Job) -> bool:
        """Whether what this claim writes must take effect."""
        job = self.model.get(row.id)
        return job is not None and job.status == "processing" and job.claim_id == row.claim_id

    def done_by(self, row: Job) -> bool:
        """Whether this claim has completed the job."""
        job = self.model.get(row.id)
        return job is not None and job.status == "completed" and job.claim_id == row.claim_id

    def found(self, claim: int) -> tuple[Hands, Job, ModelJob | None]:
        """The worker, its claim, and the job where it still holds it. Small numbers stand for claims that hold; where
        there is none, a job is claimed first."""
        if self.here("line") and not any(self.holds(row) for _, row in self.claims):
            self.claim(claim % 3, TYPES, 1)
        order = sorted(self.claims, key=lambda claim: not self.holds(claim[1]))
        hands, row = order[claim % len(order)]
        return hands, row, self.model[row.id] if self.holds(row) else None

    @claimed
    @rule(claim=CLAIMS, index=INDEXES)
    def record(self, claim: int, index: int) -> None:
        hands, row, job = self.found(claim)
        if self.done_by(row):
            assert hands.record(row, index) is False
            return
        if job is None:
            with pytest.raises(LeaseLostError):
                hands.record(row, index)
            return
        new = index < len(job.images) and job.images[index] != "completed"
        assert hands.record(row, index) == new
        if new:
            job.images[index] = "completed"

    @claimed
    @rule(claim=CLAIMS, percent=st.integers(1, 99), index=INDEXES)
    def progress(self, claim: int, percent: int, index: int) -> None:
        hands, row, job = self.found(claim)
        for told in (percent, percent - 1):
            hands.progress(row, told, {index: told})
        if job:
            job.advance(percent, index)

    @claimed
    @rule(claim=CLAIMS)
    def rewrite_the_prompt(self, claim: int) -> None:
        hands, row, job = self.found(claim)
        prompt = f"a harbour, in the words of claim {row.claim_id}"
        assert hands.do(hands.queue.store_prompt(row, prompt, {"result": "rewritten"})) == (job is not None)
        if job:
            job.prompt = prompt

    def completes(self, hands: Hands, row: Job) -> None:
        known, held = self.model.get(row.id), self.holds(row)
        whole = held and set(self.model[row.id].images) == {"completed"}
        assert hands.complete(row, len(known.images) if known else 1) == (whole or self.done_by(row), held)
        if whole:
            self.model[row.id].end("completed")

    @claimed
    @rule(claim=CLAIMS)
    def complete(self, claim: int) -> None:
        hands, row, _ = self.found(claim)
        self.completes(hands, row)

    @claimed
    @rule(claim=CLAIMS)
    def finish(self, claim: int) -> None:
        """One worker records all that is missing; those who have lost the job complete it, and then this one."""
        hands, row, _ = self.found(claim)
        for index in range(3):
            self.record(claim, index)
        for other, lost in self.claims:
            if lost.id == row.id and lost is not row:
                self.completes(other, lost)
        self.completes(hands, row)

    @claimed
    @rule(worker=WORKERS)
    def finish_together(self, worker: int) -> None:
        """A worker finishes all that it believes to hold, in as few statements as it can."""
        hands = self.hands[worker]
        rows = [row for owner, row in self.claims[-6:] if owner is hands]
        held = [self.model[row.id] for row in rows if self.holds(row)]
        calls = [(row, index) for row in rows for index in range(3)]
        told = hands.do(together(hands.assets.record(row, Medium.image, result(row, index), 3) for row, index in calls))
        assert all(isinstance(answer, tuple | LeaseLostError) for answer in told)
        whole = {row.claim_id for (row, _), answer in zip(calls, told, strict=True) if answer == (True, True)}
        completed = hands.do(together(hands.queue.complete_job(row, 3) for row in rows))
        for job in held:
            job.images = ["completed"] * len(job.images)
            job.end("completed")
        ended = {job.claim_id for job in self.model.values() if job.status == "completed"}
        assert whole <= ended
        assert [done for done, _ in completed] == [row.claim_id in ended for row in rows]

    @claimed
    @rule(claim=CLAIMS, delay=st.sampled_from([0.0, LATER]), give_back=st.booleans())
    def retry(self, claim: int, delay: float, give_back: bool) -> None:
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

    @claimed
    @rule(claim=CLAIMS)
    def fail(self, claim: int) -> None:
        hands, row, job = self.found(claim)
        assert hands.fail(row) == (job is not None)
        if job:
            job.end("failed", error=True)

    @claimed
    @rule(claim=CLAIMS)
    def release(self, claim: int) -> None:
        hands, row, job = self.found(claim)
        assert hands.release(row) == (job is not None)
        if job:
            job.requeue("line", give_back=True)

    @some_job_is("due", "later")
    @rule(worker=WORKERS, late=st.booleans())
    def promote(self, worker: int, late: bool) -> None:
        if late:
            self.time_passes()
        before = len(self.order_of_service())
        promoted, _ = self.hands[worker].promote()
        assert promoted == len(self.order_of_service()) - before
        for job in self.here("due"):
            job.place = "line"
        self.swept = True

    @rule(worker=WORKERS)
    def beat(self, worker: int) -> None:
        hands = self.hands[worker]
        hands.beat()
        self.beats[hands.id] = self.beats.get(hands.id, -1) + 1
        held = {(job.id, job.claim_id) for job in self.model.values() if job.worker == hands.id}
        assert hands.do(hands.queue.held_jobs()) == held

    @some_job_is("processing")
    @rule(worker=WORKERS)
    def leave(self, worker: int) -> None:
        hands = self.hands[worker]
        hands.do(hands.queue.delete_worker())
        self.beats.pop(hands.id, None)

    @some_job_is("processing")
    @rule(worker=WORKERS, victim=WORKERS, late=st.booleans())
    def rescue(self, worker: int, victim: int, late: bool) -> None:
        """Somebody has seen the heartbeats of a worker stand still; or it is too late, and there was one since."""
        lost, beats = self.hands[victim].id, self.beats.get(self.hands[victim].id)
        seen = beats - 1 if late and beats is not None else beats
        jobs = [job for job in self.model.values() if job.worker == lost and seen == beats]
        if seen == beats:
            self.beats.pop(lost, None)
        for job in jobs:
            job.rescue()
        assert dict(self.hands[worker].rescue(lost, seen)) == {job.id: job.status for job in jobs}

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        images = defaultdict(list)
        for row in self.rows.run("select * from public.images order by image_index"):
            images[row["job_id"]].append(row)
        found = {row["id"]: row for row in self.rows.run("select * from public.jobs")}
        assert found.keys() == self.model.keys() == images.keys()
        for job in self.model.values():
            job.check(found[job.id], images[job.id], limited=self.limit is not None and job.user == self.users[1])
        assert {row["id"]: row["beats"] for row in self.rows.run("select * from consumer.workers")} == self.beats
        self.check_limit()

    def check_limit(self) -> None:
        """The second user runs no more than allowed, and a sweep holds nothing back without need."""
        busy = [job for job in self.model.values() if job.user == self.users[1] and job.status == "processing"]
        busy += [job for job in self.here("line") if job.user == self.users[1]]
        assert self.limit is None or len(busy) <= self.limit
        assert not self.swept or len(busy) == self.limit or not any(job.held_back for job in self.model.values())
        self.swept = False


def test_workers_and_users_in_any_order_do_what_the_model_says(db, jobs, runner, database):
    hands, users = [Hands(runner, database, tries=TRIES) for _ in range(3)], [jobs.user, db.user()]
    run_state_machine_as_test(
        lambda: Interleaving(db, jobs, hands, users),
        # With Phase.shrink a failure is told in fewer steps, after minutes.
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, phases=[Phase.generate]
        ),
    )
