"""One job, from the claim to its end."""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any

from consumer import events
from consumer.assets import Assets
from consumer.backoff import delay
from consumer.delivery import Delivery
from consumer.engines.base import Engine, Output, Phase
from consumer.engines.enhance import UNTOUCHED, Enhancer
from consumer.errors import (
    Decision,
    DrainingError,
    EngineHungError,
    IncompleteError,
    LeaseLostError,
    StorageUnavailableError,
    Verdict,
    public_message,
    unwrap,
)
from consumer.failpoints import Point, reach
from consumer.failures import Failures
from consumer.job import Job, JobType, Medium
from consumer.lane import Lane, Turn
from consumer.lease import Lease
from consumer.progress import Progress
from consumer.queue import Queue
from consumer.references import References, named
from consumer.request import Request, parse


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a job is worked on with; one per worker. Each engine is loaded by the first job that needs it."""

    queue: Queue
    assets: Assets
    engines: Mapping[str, Engine]
    job_types: Mapping[str, JobType]
    lane: Lane
    delivery: Delivery
    references: References
    enhancer: Enhancer | None
    failures: Failures
    unfit: Callable[[str], None]
    """Told why, before the row is written, when this process can work on no other job either."""


async def process(lease: Lease, turn: Turn, shop: Workshop) -> Decision:
    """Work on one claimed job until its row says how it ended. `turn` is given back once the GPU is done with it."""
    job, started = lease.job, time.monotonic()
    events.emit("job.claimed", job_id=job.id, job_type=job.job_type, attempt=job.attempts)
    try:
        reach(Point.claimed)
        request = parse(job, shop.job_types[job.job_type])
        await generate(lease, request, turn, shop)
        turn.release()
        with shop.failures.undecided():
            completed = await shop.delivery.finish(lease, request.count)
            reach(Point.delivered)
            if not completed:
                await complete(lease, request, shop)
        reach(Point.ended)
        shop.failures.completed()
        decision = Decision(Verdict.completed, "")
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 `decide` is the one place that judges
        if isinstance(error, EngineHungError):
            events.emit("engine.hung", level=logging.ERROR, job_id=job.id, phase=error.phase, seconds=error.seconds)
        decision = shop.failures.decide(error, job)
        if decision.unusable:
            # First of all, for the job that is given back must not be claimed here once more.
            shop.unfit(decision.message)
        turn.release()
        if not await asyncio.shield(settle(lease, decision, error, shop)):
            decision = replace(decision, verdict=Verdict.lost)
        reach(Point.ended)
        tell(decision, job, started, error=events.describe(error))
    else:
        tell(decision, job, started)
    return decision


def tell(decision: Decision, job: Job, started: float, **reason: str) -> None:
    """One line in the log about how an attempt ended."""
    level = logging.WARNING if decision.verdict in (Verdict.retry, Verdict.fail) else logging.INFO
    seconds = round(time.monotonic() - started, 2)
    events.emit(f"job.{decision.verdict}", level=level, job_id=job.id, attempt=job.attempts, seconds=seconds, **reason)


async def generate(lease: Lease, request: Request, turn: Turn, shop: Workshop) -> None:
    """Generate what is missing, and hand each output to delivery as soon as it is there."""
    engine = shop.engines[lease.job.engine]
    # All this beside the job that is still on the lane; where nothing is checked, a thread would only take time.
    if type(engine).check is not Engine.check:
        await asyncio.to_thread(engine.check, request)
    # What was told of a job that waited, for it may be what ends workers, is old by now.
    told = lease.job.pending if request.medium is Medium.image and not lease.job.lost else None
    pending = told or await shop.assets.pending(lease.job, request.medium, request.count)
    if not pending:
        return
    request = await refer(lease, request, engine, shop)
    reach(Point.prepared)
    if not turn.begun:
        await lease.hold(turn.begin())
    if shop.lane.ending:
        raise DrainingError("The worker is going away.")
    reach(Point.begun)
    watchdog = shop.lane.watchdog
    async with Progress(lease, shop.assets, pending, request.count, watchdog, turn.end_soon) as progress:
        request = await enhance(lease, request, progress, shop)
        progress.on_step(pending, 0, request.steps, Phase.load)
        async with aclosing(shop.lane.iterate(draw(engine, request, pending, progress))) as outputs:
            async for output in outputs:
                reach(Point.generated)
                await shop.delivery.put(lease, request.medium, output)


def draw(engine: Engine, request: Request, pending: Sequence[int], progress: Progress) -> Generator[Output, None, None]:
    """All that the lane's thread does for a job but for its prompt: load what it needs, and generate."""
    engine.load(engine.model_for(request))
    reach(Point.loaded)
    yield from engine.generate(request, pending, progress.on_step)


async def refer(lease: Lease, request: Request, engine: Engine, shop: Workshop) -> Request:
    """The request with the pictures that it refers to."""
    if not named(request):
        return request
    try:
        return await lease.hold(shop.references.fetch(lease.job, request, engine.references))
    except StorageUnavailableError as error:
        raise await shop.delivery.reach.judge(error) from error


async def enhance(lease: Lease, request: Request, progress: Progress, shop: Workshop) -> Request:
    """The request with its prompt rewritten, where that is asked for; stored first, so that a retry keeps it."""
    if request.enhancement_model is None:
        return request
    job, done = lease.job, UNTOUCHED
    if shop.enhancer is not None:
        done = await shop.lane.run(partial(shop.enhancer.rewrite, request, job.engine, progress.on_step))
    if not await shop.queue.store_prompt(job, done.prompt, done.metadata):
        lease.check()
        raise LeaseLostError("The job is no longer held by this worker.")
    if done.prompt is None:
        events.emit("prompt.kept", job_id=job.id, reason=done.metadata["result"])
        return request
    events.emit("prompt.enhanced", job_id=job.id, seconds=done.metadata["seconds"], tokens=done.metadata["tokens"])
    return request.with_text(done.prompt)


async def complete(lease: Lease, request: Request, shop: Workshop) -> None:
    """Complete the job, or find out why that cannot be."""
    completed, held = await shop.queue.complete_job(lease.job, request.count)
    if completed:
        return
    lease.check()
    if held:
        raise IncompleteError("The engine did not make every picture of this job.")
    raise LeaseLostError("The job is no longer held by this worker.")


async def settle(lease: Lease, decision: Decision, error: BaseException, shop: Workshop) -> bool:
    """Write to the row what the verdict says; False when the row was no longer ours to write."""
    job, queue = lease.job, shop.queue
    lease.settling = True
    await shop.delivery.settle(lease, at_once=isinstance(error, asyncio.CancelledError))
    lease.settled = True
    reach(Point.settling)
    match decision.verdict:
        case Verdict.retry:
            return await queue.retry_job(job, delay(job.attempts), describe(lease, queue, error))
        case Verdict.fail:
            return await queue.fail_job(job, decision.message, describe(lease, queue, error))
        case Verdict.release if decision.later:
            told = describe(lease, queue, error) | {"given_back": True}
            return await queue.retry_job(job, delay(job.given_back + 1), told, give_back=True)
        case Verdict.release:
            return await queue.release_job(job.id, job.claim_id)
    return True


def describe(lease: Lease, queue: Queue, error: BaseException) -> dict[str, Any]:
    """An entry of jobs.errors: types and frames, for the text of a foreign exception may hold anything."""
    error = unwrap(error)
    return {
        "attempt": lease.job.attempts,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "worker": str(queue.worker_id),
        "type": type(error).__name__,
        "message": public_message(error),
        "traceback": frames(error.__traceback__)[-1000:],
    }


def frames(trace: TracebackType | None) -> str:
    """Where it happened, the last call last: modules, for the paths of this machine are nobody's business."""
    walked = traceback.walk_tb(trace)
    return "".join(f"{frame.f_globals.get('__name__')}:{line} in {frame.f_code.co_name}\n" for frame, line in walked)
