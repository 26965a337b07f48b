"""What is given up, step by step, when the device runs out of memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from consumer import events
from consumer.engines.base import Output
from consumer.engines.diffusion import free_memory
from consumer.errors import OutOfMemoryError
from consumer.request import Request

T = TypeVar("T")

SMALLER = "smaller batches"


@dataclass(frozen=True, slots=True)
class Relief:
    """One thing that can be given up: its name, as metadata tells it, and how. `apply` returns whether it changed
    anything; `in_force` whether it is given up now, by this job, an earlier one or a setting, and its outputs tell."""

    name: str
    apply: Callable[[], bool]
    in_force: Callable[[], bool]


def size(request: Request) -> int:
    """What the memory that `request` takes grows with: the pixels of one asset, in all of its frames."""
    return request.width * request.height * request.num_frames


def relieved(work: Callable[[], T], relief: Sequence[Relief]) -> T:
    """What `work` returns. Where memory runs out, caches are freed once; then each of `relief` is tried, in its order.

    Raises OutOfMemoryError when nothing is left to give up."""
    steps = _steps(relief)
    while True:
        done = _attempt(work)
        if done:
            return done[0]
        _relieve(next(steps))


def in_batches(
    indexes: Sequence[int],
    most: int,
    draw: Callable[[Sequence[int]], list[Output]],
    relief: Sequence[Relief] = (),
) -> Iterator[Output]:
    """What `draw` makes of all `indexes`, at most `most` at once.

    Where memory runs out, caches are freed once; then batches are halved, down to one; then each of `relief` is
    tried, in its order. What was given up is told in the metadata of the outputs, as `memory`. Raises
    OutOfMemoryError when nothing is left to give up."""
    waiting, steps, wanted, cleared = list(indexes), _steps(relief), most, False
    while waiting:
        batch = waiting[:most]
        done = _attempt(partial(draw, batch))
        if done:
            told = _given_up(relief, smaller=most < wanted)
            yield from (_tell(output, told) for output in done[0])
            del waiting[: len(batch)]
        elif cleared and len(batch) > 1:
            most = len(batch) // 2
            _relieve(SMALLER, len(batch))
        else:
            _relieve(next(steps), len(batch))
            cleared = True


def _attempt(work: Callable[[], T]) -> tuple[T] | None:
    """None where memory ran out; by then the traceback is gone, and with it the tensors that its frames held."""
    try:
        return (work(),)
    except OutOfMemoryError:
        return None


def _steps(relief: Sequence[Relief]) -> Iterator[str]:
    """Gives up one thing with each step, and says what; raises OutOfMemoryError when nothing is left."""
    yield "caches"
    for each in relief:
        changed = False
        with suppress(OutOfMemoryError):
            changed = each.apply()
        if changed:
            yield each.name
    raise OutOfMemoryError(_sentence(_given_up(relief)))


def _relieve(what: str, batch: int = 1) -> None:
    free_memory()
    events.emit("memory.relieved", level=logging.WARNING, gave_up=what, batch=batch)


def _given_up(relief: Sequence[Relief], *, smaller: bool = False) -> list[str]:
    return [SMALLER] * smaller + [each.name for each in relief if each.in_force()]


def _tell(output: Output, told: list[str]) -> Output:
    return replace(output, metadata={**output.metadata, "memory": told}) if told else output


def _sentence(given_up: list[str]) -> str:
    with_all = f", with {' and '.join(given_up)}" if given_up else ""
    return f"The device ran out of memory, even one at a time{with_all}: a smaller width, height or num_frames may fit."
