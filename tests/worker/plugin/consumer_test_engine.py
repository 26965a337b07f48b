"""An engine for tests, installed as a package of its own would be: it draws 8 x 8 pictures and does as it is told.

It stops at a named point while a test listens on a socket of that name in the folder PUPPET_DIR; the points of a job
begin with its prompt, or with the field `name`. Each picture that it makes is a line in the file `drawn` there, and
each prompt that it gets one in `prompts`. Fields of a job make it fail (`raises`: the name of an exception), leave out
pictures (`skips`: their indexes), take step after step at some of them (`endless`: their indexes) for as long as the
file `endless` is there, work for a while (`works`: seconds), or go through phases (`phases`: their names), each of
which is a point, or kill their worker (`kills`: the index at which).

There are two puppets, and each may have several models. Each load of one is a line in the file `loads`; with
PUPPET_ALONE only one of them finds room.
"""

import builtins
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer import errors
from consumer.engines.base import Engine, OnStep, Output, Phase
from consumer.request import Request

DIRECTORY = Path(os.environ.get("PUPPET_DIR", "."))
SIDE = 8

loaded: set[str] = set()
"""The models of this process that are ready for work."""


def picture(seed: int) -> NDArray[np.uint8]:
    """All of one colour, whose number is the seed."""
    return np.full((SIDE, SIDE, 3), tuple(seed.to_bytes(4, "big")[1:]), np.uint8)


def stop_at(point: str) -> None:
    """Wait here for as long as a test that listens at this point wants, or lives."""
    with socket.socket(socket.AF_UNIX) as gate:
        try:
            gate.connect(str(DIRECTORY / point))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        gate.recv(1)


def fail_as(name: str, prompt: str = "") -> None:
    """Raise the error of this name: one of ours with a sentence, one of Python's with the prompt."""
    if ours := getattr(errors, name, None):
        raise ours("The puppet cannot do that.")
    raise getattr(builtins, name)(f"cannot draw {prompt}")


def note(file: str, **line: Any) -> None:
    """Add a line to a file of this site."""
    with (DIRECTORY / file).open("a") as notes:
        notes.write(json.dumps({"pid": os.getpid(), **line}) + "\n")


class SlowPixels(np.ndarray[Any, Any]):
    """Pixels that an encoder cannot look at before the test lets it."""

    point: str | None = None

    @property
    def ndim(self) -> int:  # type: ignore[override]
        point, self.point = self.point, None
        if point:
            stop_at(point)
        return len(self.shape)


class PuppetEngine(Engine):
    """What the tests need of an engine."""

    name = "puppet"

    def resident(self, model: str) -> bool:
        return not os.environ.get("PUPPET_ALONE") or self._key(model) in loaded

    def load(self, model: str) -> None:
        stop_at("load")
        if error := os.environ.get("PUPPET_LOAD_RAISES"):
            fail_as(error)
        key = self._key(model)
        if key in loaded:
            return
        if os.environ.get("PUPPET_ALONE"):
            loaded.clear()
        loaded.add(key)
        note("loads", model=key)
        if self.residency:
            self.residency.loads[key] += 1

    def _key(self, model: str) -> str:
        return f"{self.name}:{model}" if model else self.name

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        # A prompt that was rewritten is too long for the name of a point.
        name = request.extra.get("name", request.prompt)
        note("prompts", job=name, prompt=request.prompt)
        for index in indexes:
            if index in request.extra.get("skips", ()):
                continue
            stop_at(f"{name}.{index}.start")
            on_step([index], 0, 2)
            on_step([index], 1, 2)
            stop_at(f"{name}.{index}.middle")
            while index in request.extra.get("endless", ()) and (DIRECTORY / "endless").exists():
                time.sleep(0.01)
                on_step([index], 1, 2)
            for phase in request.extra.get("phases", ()):
                on_step([index], 1, 2, Phase(phase))
                stop_at(f"{name}.{phase}")
            time.sleep(request.extra.get("works", 0))
            if index == request.extra.get("kills"):
                os.kill(os.getpid(), signal.SIGKILL)
            on_step([index], 2, 2)
            if error := request.extra.get("raises"):
                fail_as(error, name)
            yield self._output(name, index, request.seed + index)
        stop_at(f"{name}.end")

    def _output(self, name: str, index: int, seed: int) -> Output:
        note("drawn", job=name, index=index, seed=seed)
        pixels = picture(seed).view(SlowPixels)
        pixels.point = f"{name}.{index}.encode"
        return Output(index, seed, pixels, metadata={"steps": 2, "guidance_scale": 7.0, "batch_size": 1})


class SecondPuppetEngine(PuppetEngine):
    """Another engine, with a model of its own."""

    name = "puppet2"
