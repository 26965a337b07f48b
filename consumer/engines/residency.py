"""What of the models is where, what it costs, and what fits; one for all engines of a process.

torch costs seconds and hundreds of megabytes to import, so only functions import it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from consumer.engines import diffusion
from consumer.engines.base import Options
from consumer.engines.memory import Relief

if TYPE_CHECKING:
    import torch


class State(StrEnum):
    """How near a model is to being used."""

    on_disk = "on disk"
    in_ram = "in RAM"
    on_device = "on the device"
    in_use = "in use"


class Residency:
    """Knows every model that was asked for by its name, and moves it where it is needed.

    A model is whatever `build` returns: a diffusers pipeline, or a module of torch; on the CPU, in `dtype`.
    `loads` counts by name how often one was read from disk, `moves` how often one was brought to the device.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.loads: Counter[str] = Counter()
        self.moves: Counter[str] = Counter()
        self._models: dict[str, Any] = {}

    @property
    def device(self) -> "torch.device":
        """Where models work. Raises EngineUnusableError where there is no such device."""
        return diffusion.choose_device(self.options.device)

    @property
    def dtype(self) -> "torch.dtype":
        """What weights are kept in, where the model does not say otherwise."""
        return diffusion.choose_dtype(self.device)

    def state(self, name: str) -> State:
        """Where the model `name` is."""
        return State.on_device if name in self._models else State.on_disk

    @contextmanager
    def use(self, name: str, build: Callable[[], Any], working_bytes: int = 0) -> Iterator[Any]:
        """The model `name`, on the device and safe from being evicted for as long as the `with` lasts.

        `build` is called where it is not in RAM yet. `working_bytes` is what the work takes besides the weights, as
        far as that is known. Raises EngineUnusableError where it can never fit."""
        if name not in self._models:
            model = build()
            self._models[name] = diffusion.guarded(lambda: model.to(self.device))
            self.loads[name] += 1
            self.moves[name] += 1
        yield self._models[name]

    def relief(self, name: str) -> tuple[Relief, ...]:
        """What can be given up, one after the other, when the work on the model `name` runs out of memory."""
        return ()
