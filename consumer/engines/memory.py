"""What is given up, step by step, when the device runs out of memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from consumer import events
from consumer.engines.base import Output
from consumer.engines.diffusion import free_memory
from consumer.errors import OutOfMemoryError

SMALLER = "smaller batches"


@dataclass(frozen=True, slots=True)
class Relief:
    """One thing that can be given up: its name, as metadata tells it, and how. `apply` returns whether it changed
    anything; `in_force` whether it is given up now, by this job, an earlier one or a setting."""

    name: str
    apply: Callable[[], bool]
    in_force: Callable[[], bool]


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
    waiting, untried, wanted, cleared = list(indexes), list(relief), most, False
    while waiting:
        batch = waiting[:most]
        outputs = _attempt(draw, batch)
        if outputs is not None:
            told = _given_up(relief, smaller=most < wanted)
            yield from (_tell(output, told) for output in outputs)
            del waiting[: len(batch)]
            continue
        what: str | None
        if not cleared:
            cleared, what = True, "caches"
        elif len(batch) > 1:
            most, what = len(batch) // 2, SMALLER
        else:
            what = _next(untried)
        if what is None:
            raise OutOfMemoryError(_sentence(_given_up(relief)))
        free_memory()
        events.emit("memory.relieved", level=logging.WARNING, gave_up=what, batch=len(batch))


def _attempt(draw: Callable[[Sequence[int]], list[Output]], batch: Sequence[int]) -> list[Output] | None:
    """None where memory ran out; by then the traceback is gone, and with it the tensors that its frames held."""
    try:
        return draw(batch)
    except OutOfMemoryError:
        return None


def _next(untried: list[Relief]) -> str | None:
    """The name of the first relief that changes anything; it and those before it are no longer untried."""
    while untried:
        relief = untried.pop(0)
        with suppress(OutOfMemoryError):
            if relief.apply():
                return relief.name
    return None


def _given_up(relief: Sequence[Relief], *, smaller: bool = False) -> list[str]:
    return [SMALLER] * smaller + [each.name for each in relief if each.in_force()]


def _tell(output: Output, told: list[str]) -> Output:
    return replace(output, metadata={**output.metadata, "memory": told}) if told else output


def _sentence(given_up: list[str]) -> str:
    with_all = f", with {' and '.join(given_up)}" if given_up else ""
    return f"The device ran out of memory, even one at a time{with_all}: a smaller width, height or num_frames may fit."
