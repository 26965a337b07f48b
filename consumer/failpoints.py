"""Named points of a job's life, between its claim and its end, at which a test can make this process die, stand still
or fail. Without a hook, which only tests set, reaching one costs a comparison."""

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """Where a job is; in this order, but that several outputs of one job are under way at once."""

    claimed = "claimed"
    """The claim's reply is there, and nothing is done yet."""
    prepared = "prepared"
    """It is known what is missing, and the references are fetched; the lane is still another job's."""
    begun = "begun"
    """The lane is ours."""
    loaded = "loaded"
    """The model is ready."""
    generated = "generated"
    """An output has left the engine."""
    encoded = "encoded"
    """An output is bytes, and none of them is stored."""
    uploaded = "uploaded"
    """The asset is stored, its thumbnail is not."""
    stored = "stored"
    """Both are stored, and no row tells of them."""
    recorded = "recorded"
    """The asset's row tells of it."""
    delivered = "delivered"
    """Every asset is recorded; the last of them may have completed the job."""
    settling = "settling"
    """The attempt has gone wrong, and the row does not say so yet."""
    ended = "ended"
    """The job's row says how the attempt ended."""


hook: Callable[[Point], None] | None = None


def reach(point: Point) -> None:
    """Say that a job has come to `point`."""
    if hook is not None:
        hook(point)
