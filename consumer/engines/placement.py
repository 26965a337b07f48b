"""Which models must come to the device, and which must leave it, or RAM, for them."""

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from consumer import events
from consumer.engines import diffusion, offload
from consumer.engines.budget import GB
from consumer.engines.ledger import Ledger, Model
from consumer.engines.offload import Offload
from consumer.errors import ModelUnusableError, OutOfMemoryError

if TYPE_CHECKING:
    import torch


class Placement:
    """Moves models so that they stay within the ledger's budgets; what nobody uses leaves first that was used longest
    ago."""

    def __init__(
        self, ledger: Ledger, device: "torch.device", setting: str, moves: Counter[str], evictions: Counter[str]
    ) -> None:
        """`setting` is how models may lie on the device: auto, or a way of `Offload`; `moves` and `evictions` count by
        name."""
        self.ledger = ledger
        self.device = device
        self.setting = setting
        self.moves = moves
        self.evictions = evictions

    def place(self, model: Model, working: int) -> None:
        """Bring `model` to the device in the fastest way that leaves room for `working` bytes."""
        ways = offload.ways(model.value, self.setting, model.least)
        least = min(ways, key=partial(offload.cost, model.value))
        if not self.ledger.fits(model, least):
            raise ModelUnusableError(
                f"The model {model.name} takes at least {offload.cost(model.value, least) / GB:.3g} GB of the device, "
                f"and may take {self.ledger.device_bytes / GB:.3g} GB: see CONSUMER_VRAM_GB and CONSUMER_OFFLOAD."
            )
        busy = [other for other in self.ledger.placed() if other.users]
        if not self.ledger.fits(model, least, beside=busy):
            raise OutOfMemoryError("The device has no room for a model beside the one in use.")
        fitting = [way for way in ways if self.ledger.fits(model, way, working, busy)] or [least]
        for way in fitting:
            self._make_room(model, way, working)
            try:
                self._bring(model, way)
            except OutOfMemoryError:
                if way is fitting[-1]:
                    raise
            else:
                return

    def _bring(self, model: Model, way: Offload) -> None:
        if model.way is way:
            return
        if model.way:
            self.retreat(model)
        try:
            self._move(model, way)
        except OutOfMemoryError:
            # It should have fitted; without all those that nobody uses, it may.
            self.evict_idle()
            self._move(model, way)

    def _move(self, model: Model, way: Offload) -> None:
        started, model.way = time.monotonic(), way
        ample = self.ledger.ram_fits(model.bytes)
        try:
            diffusion.guarded(lambda: offload.bring(model.value, way, self.device, ample_ram=ample))
        except BaseException:
            self.retreat(model)
            raise
        self.moves[model.name] += 1
        seconds = round(time.monotonic() - started, 2)
        events.emit("model.moved", model=model.name, bytes=model.bytes, offload=way, seconds=seconds)

    def _make_room(self, model: Model, way: Offload, working: int) -> None:
        """Evict what is in the way of `model`, the longest unused first."""
        for other in self.ledger.idle():
            # What brings a shared part by itself would bring it for both.
            entangled = {way, other.way} != {Offload.none} and other.parts.keys() & model.parts.keys()
            if other.way and (entangled or not self.ledger.fits(model, way, working, self.ledger.placed())):
                self._evict(other)

    def evict_idle(self) -> bool:
        """Evict all that nobody uses; whether there was any."""
        idle = [model for model in self.ledger.idle() if model.way]
        for model in idle:
            self._evict(model)
        return bool(idle)

    def _evict(self, model: Model) -> None:
        """From the device to RAM, or to disk where RAM has no room."""
        fits = self.trim(0 if self.ledger.is_in_ram(model) else model.bytes)
        if model.way is None:
            return
        if fits:
            self.retreat(model)
            diffusion.empty_cache()
            self._evicted(model, "RAM")
        else:
            self._drop(model)

    def trim(self, coming: int = 0) -> bool:
        """Make room for `coming` bytes in RAM, the longest unused first; whether that succeeded."""
        while not self.ledger.ram_fits(coming):
            idle = next((model for model in self.ledger.idle() if self.ledger.is_in_ram(model)), None)
            if idle is None:
                return False
            self._drop(idle)
        return True

    def _drop(self, model: Model) -> None:
        if model.way:
            self.retreat(model, dropped=True)
        model.value = None
        diffusion.free_memory()
        self._evicted(model, "disk")

    def _evicted(self, model: Model, to: str) -> None:
        self.evictions[model.name] += 1
        events.emit("model.evicted", model=model.name, bytes=model.bytes, to=to)

    def retreat(self, model: Model, *, dropped: bool = False) -> None:
        """Send to RAM what no other model has on the device; of a `dropped` one, only what another model holds."""
        way, model.way = model.way, None
        others = self.ledger.others(model)
        staying = {key for other in others if other.way is Offload.none for key in other.parts}
        wanted = {key for other in others for key in other.parts}

        def leave() -> None:
            if way is Offload.group:
                # The next layer may still be on its way, in a stream of its own.
                diffusion.synchronize(self.device)
            offload.disarm(model.value)
            for key, part in model.parts.items():
                if key not in staying and (key in wanted or not dropped):
                    part.to("cpu")

        diffusion.guarded(leave)
