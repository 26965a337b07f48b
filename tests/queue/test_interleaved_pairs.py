"""Any two statements about one job, the first in a transaction that stays open while the second runs: what comes of it
is what comes of one after the other, in one of the two orders. Only those that skip locked rows may find nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from consumer.assets import Assets
from consumer.errors import LeaseLostError
from consumer.job import Job, Medium
from consumer.queue import Queue
from jobs import ERROR, Hands, Jobs, result
from steps import Transaction

Outcome = tuple[Any, ...]

REPLACE = "insert into public.images (user_id, job_id, image_index) select id, %s, 1 from auth.users where id = %s"


class Side:
    """One connection, on which any of two workers and the application speak."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], worker: UUID, rival: UUID) -> None:
        self.connection = connection
        transaction: Any = Transaction(connection)
        self.queue, self.rival = Queue(transaction, worker), Queue(transaction, rival)
        self.assets = Assets(transaction)

    async def sql(self, statement: str, *parameters: Any) -> Any:
        cursor = await self.connection.execute(statement.encode(), parameters)
        return [tuple(row.values()) for row in await cursor.fetchall()] if cursor.description else cursor.rowcount


@dataclass
class Scene:
    """A job in some state: its id and user, and the claim of its worker, which may be lost."""

    id: UUID
    user: UUID
    claim: Job


async def claimed(queue: Queue) -> list[int]:
    return [job.attempts for job in await queue.claim_jobs(("sketch",))]


async def rescued(queue: Queue, worker: UUID) -> list[str]:
    return [status for _, status in await queue.rescue_jobs(worker, 0)]


async def finished(by: Side, claim: Job) -> tuple[bool, bool]:
    """The last picture and the job, as a worker does it."""
    recorded, completed = await by.assets.record(claim, Medium.image, result(claim, 1), 2)
    return recorded, completed or (await by.queue.complete_job(claim, 2))[0]


STATEMENTS: dict[str, Callable[[Side, Scene], Awaitable[Any]]] = {
    "record": lambda by, on: by.assets.record(on.claim, Medium.image, result(on.claim, 1)),
    "finish": lambda by, on: finished(by, on.claim),
    "progress": lambda by, on: by.assets.progress(on.claim, 60, {1: 60}),
    "complete": lambda by, on: by.queue.complete_job(on.claim, 2),
    "retry": lambda by, on: by.queue.retry_job(on.claim, 0, ERROR),
    "release": lambda by, on: by.queue.release_job(on.claim.id, on.claim.claim_id),
    "rescue": lambda by, on: rescued(by.rival, by.queue.worker_id),
    "beat": lambda by, on: by.queue.heartbeat("a worker", ("sketch",), 45.0, idle=False),
    "claim": lambda by, on: claimed(by.queue),
    "rival claims": lambda by, on: claimed(by.rival),
    "promote": lambda by, on: by.queue.promote_due(),
    "cancel": lambda by, on: by.sql("select public.cancel_job(%s)", on.id),
    "ask again": lambda by, on: by.sql("select public.retry_job(%s)", on.id),
    "delete": lambda by, on: by.sql("delete from public.jobs where id = %s", on.id),
    "replace": lambda by, on: by.sql(REPLACE, on.id, on.user),
}
SKIPPING = {"claim": [], "rival claims": [], "promote": (0, None)}
"""What they answer where another one has the row."""

SCENES = {
    "in hand": ["record", "finish", "progress", "complete", "retry", "rescue", "beat", "cancel", "delete", "replace"],
    "recorded": ["complete", "release", "rescue", "cancel", "delete", "replace"],
    "in line": ["claim", "rival claims", "cancel", "delete", "replace"],
    "due": ["promote", "claim", "cancel", "delete"],
    "failed": ["ask again", "rival claims", "cancel", "delete", "replace", "record", "finish"],
}


class Stage:
    """Sets scenes, and lets two statements meet in them."""

    def __init__(self, jobs: Jobs, worker: Hands, sides: list[Side], observer: Side) -> None:
        self.jobs, self.worker, self.observer = jobs, worker, observer
        self.first, self.second = sides

    def set(self, name: str) -> Scene:
        """A job of two images, which was claimed once by the worker; index 0 is recorded."""
        self.jobs.run("delete from public.jobs")
        self.jobs.run("delete from consumer.workers")
        self.worker.do(STATEMENTS["beat"](self.observer, None))
        job_id = self.jobs.add(count=2)
        claim = self.worker.take()
        self.worker.record(claim, 0)
        match name:
            case "recorded":
                self.worker.record(claim, 1)
            case "in line":
                self.worker.release(claim)
            case "due":
                self.worker.retry(claim, 0)
            case "failed":
                self.worker.fail(claim)
        return Scene(job_id, self.jobs.user, claim)

    def one_after_the_other(self, name: str, *statements: str) -> Outcome:
        scene = self.set(name)
        return *[self.worker.do(answer(self.observer, scene, each)) for each in statements], self.state(scene)

    def together(self, name: str, first: str, second: str) -> Outcome:
        scene = self.set(name)
        return *self.worker.do(self._meet(scene, first, second)), self.state(scene)

    async def _meet(self, scene: Scene, first: str, second: str) -> Outcome:
        one = await answer(self.first, scene, first)
        task = asyncio.create_task(answer(self.second, scene, second))
        waits = "select cardinality(pg_blocking_pids(%s)) > 0"
        pid = self.second.connection.info.backend_pid
        while not task.done() and await self.observer.sql(waits, pid) != [(True,)]:
            await asyncio.sleep(0)
        await self.first.connection.commit()
        return one, await task

    def state(self, scene: Scene) -> Outcome:
        """What the database says of the job in the end, and of the worker. How far an unfinished image is counts for
        nothing: it is shown as of some moment, and told again."""
        rows = self.jobs.run(
            "select status, attempts, worker_id, claim_id <> %s as claimed_anew, queue_at is not null as in_line,"
            " available_at is not null as waits, completed_at is not null as over, image_id is not null as image,"
            " error_message, jsonb_array_length(errors) as errors, jsonb_array_length(metadata -> 'assets') as assets,"
            " metadata -> 'progress' as progress from public.jobs",
            scene.claim.claim_id,
        )
        images = self.jobs.run(
            "select image_index, managed, case when status not in ('queued', 'processing') then status end as ended,"
            " image_url is not null as stored, error_message from public.images order by image_index"
        )
        return rows, images, self.jobs.run("select id, beats from consumer.workers")


async def answer(side: Side, scene: Scene, name: str) -> Any:
    """What a statement answers, or how it is refused."""
    try:
        found = await STATEMENTS[name](side, scene)
    except (LeaseLostError, psycopg.ProgrammingError, psycopg.IntegrityError) as error:
        if isinstance(error, psycopg.ProgrammingError) and error.sqlstate != "PT404":
            # A mistake in a statement, and no job that is not there.
            raise
        await side.connection.rollback()
        return type(error)
    return None if name == "beat" else found


@pytest.fixture
def stage(db, jobs: Jobs, worker: Hands, runner: asyncio.Runner) -> Iterator[Stage]:
    rival = uuid4()
    connections = [
        runner.run(psycopg.AsyncConnection.connect(db.dsn, autocommit=autocommit, row_factory=dict_row))
        for autocommit in (False, True, True)
    ]
    first, second, observer = (Side(connection, worker.id, rival) for connection in connections)
    yield Stage(jobs, worker, [first, second], observer)
    for connection in connections:
        runner.run(connection.close())


@pytest.mark.parametrize("scene", SCENES)
def test_two_statements_that_meet_do_what_they_do_one_after_the_other(stage: Stage, scene: str) -> None:
    for first, second in product(SCENES[scene], repeat=2):
        found = stage.together(scene, first, second)
        one, other, state = stage.one_after_the_other(scene, second, first)
        legal = [stage.one_after_the_other(scene, first, second), (other, one, state)]
        if second in SKIPPING:
            alone, state = stage.one_after_the_other(scene, first)
            legal.append((alone, SKIPPING[second], state))
        assert found in legal, (first, second)
