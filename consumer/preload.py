"""The configured default is loaded before the first claim, so that no user waits for it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from consumer import events
from consumer.engines.base import Engine, Phase
from consumer.errors import EngineHungError, UsageError
from consumer.lane import Lane

HEAR_SECONDS = 5.0
"""How long the first load waits for the listener: importing torch would hold it up."""


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


async def before_claims(
    name: str,
    engine: Engine,
    lane: Lane,
    hearing: asyncio.Event,
    leaving: asyncio.Event,
    unfit: Callable[[str], None],
) -> None:
    """Load an engine once the worker is `hearing`, and say when it is `unfit`. When it is `leaving`, nobody waits for a
    load, for it cannot be interrupted."""
    await _first(hearing.wait(), leaving.wait(), asyncio.sleep(HEAR_SECONDS))
    if not leaving.is_set():
        await _first(_try(name, engine, lane, unfit), leaving.wait())


async def _try(name: str, engine: Engine, lane: Lane, unfit: Callable[[str], None]) -> None:
    try:
        await load(name, engine, lane)
    except Exception as error:  # noqa: BLE001 whatever it is, the first job would meet it too
        if isinstance(error, EngineHungError):
            events.emit("engine.hung", level=logging.ERROR, phase=error.phase, seconds=error.seconds, engine=name)
        unfit(f"The engine {name} could not be loaded: {events.describe(error)}")


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them is over; the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
