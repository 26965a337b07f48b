"""The engine that needs no model and no GPU: a small landscape for every prompt and seed.

It stands in for any engine in demos and in tests. The same prompt, seed and size give the same picture.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from consumer.engines.backdrop import Backdrop
from consumer.engines.base import Engine, OnStep, Options, Output
from consumer.engines.caption import Caption
from consumer.engines.scenery import Scene
from consumer.errors import UsageError
from consumer.job import Medium
from consumer.request import Request

if TYPE_CHECKING:
    from consumer.engines.residency import Residency

SECONDS = "CONSUMER_SKETCH_SECONDS"
# While it waits, it asks this often whether to go on.
SLICE_SECONDS = 0.05


class SketchEngine(Engine):
    """Draws with numpy and Pillow. CONSUMER_SKETCH_SECONDS makes every asset take at least so long.

    References shine through, as strongly as they were asked for; of an exact copy, nothing else is seen."""

    references = ("reference_url", "start_reference_url", "end_reference_url")

    def __init__(self, model: str, options: Options, residency: "Residency | None" = None) -> None:
        super().__init__(model, options, residency)
        self.seconds = _seconds(os.environ.get(SECONDS) or "0")

    def load(self, model: str) -> None:
        """There is nothing to load."""

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        """One asset after the other, each in `request.steps` steps."""
        for index in indexes:
            on_step([index], 0, request.steps)
            yield self._draw(request, index, on_step)

    def _draw(self, request: Request, index: int, on_step: OnStep) -> Output:
        seed, steps = request.seed + index, request.steps
        width, height = request.width, request.height
        moving = request.medium is Medium.video or request.num_frames > 1
        count = request.num_frames if moving else 1
        motion = 0.5 if request.motion_intensity is None else request.motion_intensity
        started = time.monotonic()
        scene = Scene(request.prompt, seed, width, height)
        backdrop = Backdrop(request)
        caption = Caption(request.prompt, seed, index, width, height)
        frames = np.empty((count, height, width, 3), np.uint8)
        for step in range(steps):
            for number in range(count * step // steps, count * (step + 1) // steps):
                frames[number] = scene.at(number / count, motion)
                backdrop.lay_on(frames[number], number / (count - 1) if count > 1 else 0.5)
                if not request.exact_copy_mode:
                    caption.write_on(frames[number])
            while (left := started + self.seconds * (step + 1) / steps - time.monotonic()) > 0:
                time.sleep(min(left, SLICE_SECONDS))
                on_step([index], step, steps)
            on_step([index], step + 1, steps)
        if moving:
            return Output(index, seed, frames, request.fps, _metadata(request, backdrop))
        return Output(index, seed, frames[0], metadata=_metadata(request, backdrop))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{SECONDS} must be a number of seconds, 0 or more.")
    return seconds


def _metadata(request: Request, backdrop: Backdrop) -> dict[str, Any]:
    used: dict[str, Any] = {"steps": request.steps, "guidance_scale": request.guidance_scale, "batch_size": 1}
    for field, reference in request.references.items():
        height, width, _ = reference.pixels.shape
        name = field.removesuffix("_url")
        used |= {"reference_strength": backdrop.strength, f"{name}_width": width, f"{name}_height": height}
    return used
