"""An engine of our own: clouds of colour, grown from coarse to fine.

Everything an engine has to do is here; one with a model differs in `load` and `resident` alone.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from consumer.engines.base import Engine, OnStep, Output, Phase
from consumer.errors import RejectedError
from consumer.job import Medium
from consumer.request import Request

MOST_STEPS = 12


class PlasmaEngine(Engine):
    """A cloud of colour for every prompt and seed."""

    # What must be installed, by the names one imports; `consumer engines` tells where something is missing.
    requires = ("numpy",)

    def check(self, request: Request) -> None:
        """Refuse what can never work, with a sentence that the user reads; nothing has been loaded yet."""
        if request.steps > MOST_STEPS:
            raise RejectedError(f"steps must be at most {MOST_STEPS} for the plasma engine.")

    def load(self, model: str) -> None:
        """An engine with a model reads `model` here, once, and keeps it. A hub id, a folder, a file: what you like.
        Its `resident` then tells whether it is there, so that jobs for it may go before those for which it must go."""

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        """One asset after the other; after a crash, `indexes` are only those that are missing."""
        for index in indexes:
            # Before what cannot be interrupted, say what begins; this raises when the user has cancelled the job.
            on_step([index], 0, request.steps, Phase.encode)
            seed = request.seed + index
            random = np.random.default_rng([seed, *request.prompt.encode()])
            colours = np.zeros((request.height, request.width, 3))
            for step in range(request.steps):
                colours += octave(random, request.height, request.width, 2 ** (step + 1)) / 2**step
                on_step([index], step + 1, request.steps)
            pixels = to_pixels(colours)
            used = {"steps": request.steps, "batch_size": 1}
            if request.medium is Medium.video:
                yield Output(index, seed, drift(pixels, request.num_frames), request.fps, used)
            else:
                yield Output(index, seed, pixels, metadata=used)


def octave(random: np.random.Generator, height: int, width: int, cells: int) -> NDArray[np.float64]:
    """Noise of (height, width, 3) with about `cells` waves on each side."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None] * np.pi * cells
    phases = random.uniform(0, 2 * np.pi, (2, 3))
    return np.sin(x + phases[0]) * np.cos(y + phases[1])


def to_pixels(colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8 RGB, over the whole range."""
    low, high = colours.min(), colours.max()
    return np.round((colours - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)


def drift(pixels: NDArray[np.uint8], frames: int) -> NDArray[np.uint8]:
    """(frames, height, width, 3): the picture goes by."""
    width = pixels.shape[1]
    return np.stack([np.roll(pixels, width * number // frames, axis=1) for number in range(frames)])
