"""The contract between the worker and an engine.

An engine is plain synchronous code. All of its methods are called from one thread, the lane, so it needs no
locks; the database, the encoders and the uploads work beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from consumer.request import Request


@dataclass(frozen=True, slots=True)
class Output:
    """One asset's pixels, as they leave the engine.

    `pixels` is uint8 RGB: (height, width, 3) for a picture, (frames, height, width, 3) for a video, which also
    has `fps`. `seed` is the seed this asset was made with (the request's seed + index). `metadata` says what was
    really used (steps, guidance_scale, batch_size, scheduler, ...), never what was merely asked for.
    """

    index: int
    seed: int
    pixels: NDArray[np.uint8]
    fps: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class OnStep(Protocol):
    """Called by the engine after each step, and right before and after parts that cannot be interrupted."""

    def __call__(self, indexes: Sequence[int], done: int, total: int) -> None:
        """Report `done` of `total` steps for these assets. Raises StoppedError when the work must end: let it
        pass, after cleaning up what would harm the next job."""


class Engine(ABC):
    """Load once, generate many times."""

    requires: ClassVar[tuple[str, ...]] = ()
    """The modules that must be installed for it; importing the engine's own module imports none of them."""

    def __init__(self, model: str, device: str) -> None:
        """`model`: hub id, folder, .safetensors file or `tiny`; "" for the engine's own default.
        `device`: `auto`, `cpu`, `cuda`, `cuda:1`, ...; nothing heavy happens here."""
        self.model = model
        self.device = device

    def check(self, request: Request) -> None:  # noqa: B027 an engine that can do everything need not say so
        """Raise RejectedError for what this engine cannot do, before anything is loaded. Cheap."""

    @abstractmethod
    def load(self) -> None:
        """Make the engine ready; called before the first job and harmless when called again.

        Raises EngineUnusableError when this process can never use it."""

    @abstractmethod
    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        """Yield one Output for each of `indexes` as soon as it is ready; asset i uses seed `request.seed + i`.

        Raises RejectedError, OutOfMemoryError, EngineUnusableError, or lets StoppedError of `on_step` pass."""
