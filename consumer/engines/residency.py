"""What of the models is loaded and where it is; one for all engines of a process.

What it costs and what fits is in `ledger`, what must move is decided in `placement`, and how in `offload`. torch costs
seconds and hundreds of megabytes to import, so only functions import it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from consumer import events
from consumer.engines import budget, diffusion, offload
from consumer.engines.base import Options
from consumer.engines.ledger import Ledger, Model, State
from consumer.engines.memory import Relief
from consumer.engines.offload import Offload
from consumer.engines.placement import Placement

if TYPE_CHECKING:
    import torch


class Residency:
    """Knows every model that was asked for by its name, and moves it where it is needed.

    A model is whatever `build` returns: a diffusers pipeline, or a module of torch; on the CPU, in its dtype.
    By name, `loads` counts how often one was read from disk, `moves` how often one was brought to the device, and
    `evictions` how often one had to leave it, or RAM, for another. `parts` are the loaded ones by their fingerprint,
    for models that share weights. With a CPU as the device all is the same, only that nothing really moves.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.loads: Counter[str] = Counter()
        self.moves: Counter[str] = Counter()
        self.evictions: Counter[str] = Counter()
        self.parts: WeakValueDictionary[str, Any] = WeakValueDictionary()

    @cached_property
    def device(self) -> "torch.device":
        """Where models work. Raises EngineUnusableError where there is no such device."""
        return diffusion.choose_device(self.options.device)

    @property
    def dtype(self) -> "torch.dtype":
        """What weights are kept in, where the model does not say otherwise."""
        return diffusion.choose_dtype(self.device)

    @cached_property
    def _ledger(self) -> Ledger:
        device_bytes = budget.of_device(self.options, self.device)
        return Ledger(device_bytes, budget.of_ram(self.options), apart=self.device.type != "cpu")

    @cached_property
    def _placement(self) -> Placement:
        return Placement(self._ledger, self.device, self.options.offload, self.moves, self.evictions)

    def state(self, name: str) -> State:
        """Where the model `name` is."""
        return self._ledger.models[name].state if self.loads[name] else State.on_disk

    def resident(self) -> frozenset[str]:
        """The models that need neither be loaded nor moved."""
        return frozenset(model.name for model in self._ledger.placed()) if self.loads else frozenset()

    def fits(self, name: str) -> bool:
        """Whether the model `name` would fit, whole, beside those on the device; False for one never loaded."""
        if not self.loads[name]:
            return False
        model, placed = self._ledger.models[name], self._ledger.placed()
        if model.value is None:
            return self._ledger.taken(placed) + model.bytes + model.working <= self._ledger.device_bytes
        return model.way is not None or self._ledger.fits(model, Offload.none, model.working, placed)

    def report(self) -> list[dict[str, Any]]:
        """Each model that was ever loaded, the one used last at the end: model, state, bytes, loads, moves, evictions,
        and offload: none, model, group, or null where it is not on the device."""
        return [
            {
                "model": model.name,
                "state": model.state.value,
                "bytes": model.bytes,
                "loads": self.loads[model.name],
                "moves": self.moves[model.name],
                "evictions": self.evictions[model.name],
                "offload": model.way.value if model.way else None,
            }
            for model in (list(self._ledger.models.values()) if self.loads else [])
            if self.loads[model.name]
        ]

    @contextmanager
    def use(
        self, name: str, build: Callable[[], Any], working_bytes: int = 0, size: int | None = None
    ) -> Iterator[Any]:
        """The model `name`, on the device and safe from being evicted for as long as the `with` lasts.

        `build` is called where it is not in RAM yet. `working_bytes` is what the work takes besides the weights, as
        far as that is known, and `size` what that grows with, as `memory.size` has it; None for that of the last work.
        Raises ModelUnusableError where it can never fit, OutOfMemoryError where it does not fit now."""
        model = self._ledger.touch(name)
        model.users += 1
        model.size = model.size if size is None else size
        try:
            if model.value is None:
                self._load(model, build)
            self._set_tiles(model)
            self._placement.place(model, max(working_bytes, model.working))
            budget.watch_peak(self.device)
            yield model.value
            peak = budget.peak(self.device) - self._ledger.taken(self._ledger.placed())
            model.seen[model.size] = max(model.working, peak)
        except BaseException:
            # Layers that were left halfway are not where their hooks believe them to be.
            if model.way is Offload.group and model.users == 1:
                self._placement.retreat(model)
            raise
        finally:
            model.users -= 1
            if model.way is Offload.model and not model.users:
                diffusion.guarded(model.value.maybe_free_model_hooks)

    def relief(self, name: str, *, vae: bool = True) -> tuple[Relief, ...]:
        """What can be given up, one after the other, when the work on the model `name` runs out of memory; `vae` is
        whether that is also its VAE's."""
        model = self._ledger.models[name]

        def relief(name: str, give_up: Callable[[], bool], in_force: Callable[[], bool]) -> Relief:
            return Relief(name, partial(self._anew, give_up), in_force)

        def offloaded(way: Offload) -> Relief:
            return relief(f"{way} offload", partial(self._offload, model, way), lambda: model.way is way)

        tiles = relief("vae tiling", partial(self._tile, model), lambda: offload.is_tiled(model.value))
        return (
            relief("idle models", self._placement.evict_idle, lambda: False),
            *([tiles] if vae else []),
            offloaded(Offload.model),
            offloaded(Offload.group),
        )

    def _anew(self, give_up: Callable[[], bool]) -> bool:
        changed = give_up()
        # What the work took before says nothing of what it takes from now on.
        budget.watch_peak(self.device)
        return changed

    def _set_tiles(self, model: Model) -> None:
        setting = self.options.vae_tiling
        if setting == "on" or (setting == "auto" and model.tiled):
            offload.tile(model.value)
        else:
            offload.untile(model.value)

    def _tile(self, model: Model) -> bool:
        if self.options.vae_tiling != "auto" or offload.is_tiled(model.value) or not offload.tile(model.value):
            return False
        model.tiled_from = model.size
        return True

    def _offload(self, model: Model, way: Offload) -> bool:
        now = model.way or Offload.none
        if way.rank <= now.rank or way not in offload.ways(model.value, self.options.offload):
            return False
        # Of small parts, two layers and the VAE may be more than the largest one.
        if not self._ledger.fits(model, way):
            return False
        model.offloaded_from[way] = model.size
        self._placement.place(model, model.working)
        return True

    def _load(self, model: Model, build: Callable[[], Any]) -> None:
        self._placement.trim(model.bytes)
        started = time.monotonic()
        value = diffusion.guarded(build)
        model.value = value
        model.bytes = offload.size(model.parts.values())
        self.loads[model.name] += 1
        seconds = round(time.monotonic() - started, 2)
        events.emit("model.loaded", model=model.name, bytes=model.bytes, seconds=seconds)
        self._placement.trim()
