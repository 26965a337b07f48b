"""The configured default is loaded before the first claim, so that no user waits for it."""

import time
from collections.abc import Mapping
from functools import partial

from consumer import events
from consumer.engines.base import Engine, Phase
from consumer.errors import UsageError
from consumer.lane import Lane


def choose(setting: str, engines: Mapping[str, Engine]) -> str | None:
    """Which of the engines that are served is the default, given in the order in which they were named: with `auto`
    the first one that has a model. None where nothing is to be loaded. Raises UsageError."""
    if setting == "auto":
        return next((name for name, engine in engines.items() if engine.requires), None)
    if setting not in ("none", *engines):
        raise UsageError(
            f"CONSUMER_PRELOAD must be auto, none, or an engine that this worker serves: {', '.join(engines)}."
        )
    return None if setting == "none" else setting


async def load(name: str, engine: Engine, lane: Lane) -> None:
    """Load the engine's own model; the lane's thread imports what that needs. Raises what the engine does, and
    EngineHungError."""
    started = time.monotonic()
    lane.watchdog.begin(Phase.load)
    await lane.run(partial(engine.load, engine.model))
    events.emit("engine.loaded", engine=name, seconds=round(time.monotonic() - started, 2))
