"""The contract between the worker and an engine.

An engine is plain synchronous code. All of its methods are called from one thread, the lane, so it needs no
locks; the database, the encoders, the downloads and the uploads work beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from consumer.request import Request

if TYPE_CHECKING:
    from consumer.engines.residency import Residency


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


class Phase(StrEnum):
    """What an engine is busy with; for each there is a limit to how long it may last without a word."""

    load = "load"
    enhance = "enhance"
    compile = "compile"
    encode = "encode"  # type: ignore[assignment] # a str has a method of this name, which no phase needs
    step = "step"
    decode = "decode"


class OnStep(Protocol):
    """Called by the engine after each step, and right before and after parts that cannot be interrupted."""

    def __call__(self, indexes: Sequence[int], done: int, total: int, phase: Phase = Phase.step) -> None:
        """Report `done` of `total` steps for these assets, and that `phase` begins now. Raises StoppedError when
        the work must end: let it pass, after cleaning up what would harm the next job."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose for the engines of this process; each is a setting, told in .env.example.

    `device`: `auto`, `cpu`, `cuda`, `cuda:1`, ... `vram_gb` is what the weights and the work on them may take (None:
    what is free at the start). `models` has the further models that an engine may need, by the name of the setting
    without `CONSUMER_MODEL_`, in small letters; those that are not set are absent.
    """

    device: str = "auto"
    vram_gb: float | None = None
    ram_gb: float | None = None
    offload: Literal["auto", "none", "model", "group"] = "auto"
    vae_tiling: Literal["auto", "on", "off"] = "auto"
    speed: Literal["default", "fast"] = "default"
    lora_dir: Path | None = None
    enhance_seconds: float = 60.0
    enhance_tokens: int = 200
    models: Mapping[str, str] = field(default_factory=dict)


class Engine(ABC):
    """Load once, generate many times."""

    requires: ClassVar[tuple[str, ...]] = ()
    """The modules that must be installed for it; importing the engine's own module imports none of them."""

    references: ClassVar[tuple[str, ...]] = ()
    """The reference fields that it uses (reference_url, start_reference_url, end_reference_url); a request with
    another one is rejected. What it uses is fetched beforehand: `request.references[field]`."""

    def __init__(self, model: str, options: Options, residency: "Residency | None" = None) -> None:
        """`model`: hub id, folder, .safetensors file or `tiny`; "" for the engine's own default.
        `residency` is what all engines of this process share; nothing heavy happens here."""
        self.model = model
        self.options = options
        self.residency = residency

    @property
    def device(self) -> str:
        """The name of the device, as the operator chose it."""
        return self.options.device

    def check(self, request: Request) -> None:  # noqa: B027 an engine that can do everything need not say so
        """Raise RejectedError for what this engine cannot do, before anything is fetched or loaded. Cheap; alone of
        all methods it is called beside the lane, while another job may be generated."""

    def resident(self, model: str) -> bool:  # noqa: ARG002 an engine whose models cost nothing need not look
        """Whether it can work with `model`, a job type's own or "" for the engine's, without moving another model off
        the device, because this one is there or finds room. Jobs for models of which this is true may go first. Called
        between two jobs, not from the lane; it looks, and imports or moves nothing."""
        return True

    def model_for(self, request: Request) -> str:
        """The model that makes what `request` asks for: the job type's own, else the engine's."""
        return request.model or self.model

    @abstractmethod
    def load(self, model: str) -> None:
        """Make `model` ready, one that `model_for` named or the engine's own. Called before each job and, where the
        operator wants that, before the first claim; harmless when it is there.

        Raises EngineUnusableError when this process can never use it."""

    @abstractmethod
    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        """Yield one Output for each of `indexes` as soon as it is ready; asset i uses seed `request.seed + i`.

        Raises RejectedError, OutOfMemoryError, EngineUnusableError, or lets StoppedError of `on_step` pass."""
