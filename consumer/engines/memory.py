"""What is given up, step by step, when the device runs out of memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from consumer.engines.base import Output
from consumer.errors import OutOfMemoryError


@dataclass(frozen=True, slots=True)
class Relief:
    """One thing that can be given up: its name, as metadata tells it, and how. `apply` returns whether it changed
    anything."""

    name: str
    apply: Callable[[], bool]


def in_batches(
    indexes: Sequence[int],
    most: int,
    draw: Callable[[Sequence[int]], list[Output]],
    relief: Sequence[Relief] = (),
) -> Iterator[Output]:
    """What `draw` makes of all `indexes`, at most `most` at once, and half as many when memory runs short."""
    waiting = list(indexes)
    while waiting:
        batch = waiting[:most]
        try:
            outputs = draw(batch)
        except OutOfMemoryError:
            if len(batch) == 1:
                raise
            most = len(batch) // 2
            continue
        yield from outputs
        del waiting[: len(batch)]
