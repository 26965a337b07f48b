"""What the models take of the device and of RAM, and what fits: arithmetic alone, nothing is moved here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any

from consumer.engines import offload
from consumer.engines.offload import Offload


class State(StrEnum):
    """How near a model is to being used."""

    on_disk = "on disk"
    in_ram = "in RAM"
    on_device = "on the device"
    in_use = "in use"


@dataclass(eq=False)
class Model:
    """What is known of a model: `value` is None while it is on disk only, `way` is None while it is not on the device.

    The rest outlives that it is dropped: the `bytes` of its weights, the `size` of its last work, and by such sizes
    the bytes that work was `seen` to take besides the weights, and from which size on lack of memory drove the model to
    tiles and to an offload. What is as large or larger would fail in the same way, and what is smaller would not."""

    name: str
    value: Any = None
    way: Offload | None = None
    users: int = 0
    bytes: int = 0
    size: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    tiled_from: float = inf
    offloaded_from: dict[Offload, int] = field(default_factory=dict)

    @property
    def working(self) -> int:
        """The bytes that its work takes besides the weights, as far as that was seen."""
        return max((taken for size, taken in self.seen.items() if size <= self.size), default=0)

    @property
    def tiled(self) -> bool:
        """Whether its work needs tiles."""
        return self.tiled_from <= self.size

    @property
    def least(self) -> Offload:
        """The least that its work needs to be offloaded."""
        needed = [way for way, size in self.offloaded_from.items() if size <= self.size]
        return max(needed, key=lambda way: way.rank, default=Offload.none)

    @property
    def state(self) -> State:
        """Where it is."""
        if self.value is None:
            return State.on_disk
        if self.way is None:
            return State.in_ram
        return State.in_use if self.users else State.on_device

    @property
    def parts(self) -> dict[int, Any]:
        """Its modules by identity; none while it is on disk."""
        return offload.parts(self.value) if self.value is not None else {}


class Ledger:
    """All models by name, in the order in which they were used; and the bytes that they may take together.

    `apart` is whether the device has memory of its own: else what lies on it is in RAM as well."""

    def __init__(self, device_bytes: float, ram_bytes: float, *, apart: bool) -> None:
        self.device_bytes = device_bytes
        self.ram_bytes = ram_bytes
        self.apart = apart
        self.models: dict[str, Model] = {}

    def touch(self, name: str) -> Model:
        """The model of that name, from now on the one used last."""
        model = self.models.pop(name) if name in self.models else Model(name)
        self.models[name] = model
        return model

    def placed(self) -> list[Model]:
        """Those on the device."""
        return [model for model in list(self.models.values()) if model.way is not None]

    def others(self, model: Model) -> list[Model]:
        """The loaded ones besides `model`."""
        return [other for other in self.models.values() if other is not model and other.value is not None]

    def idle(self) -> list[Model]:
        """The loaded ones that nobody uses."""
        return [model for model in self.models.values() if not model.users and model.value is not None]

    def taken(self, placed: Iterable[Model], model: Model | None = None, way: Offload | None = None) -> int:
        """The bytes of weights on the device, each part counted once; with `model` there in the given way, too."""
        lying = [(other, other.way) for other in placed if other is not model] + ([(model, way)] if model else [])
        whole = {key: part for each, how in lying if how is Offload.none for key, part in each.parts.items()}
        apart = [offload.cost(each.value, how) for each, how in lying if how in (Offload.model, Offload.group)]
        return offload.size(whole.values()) + sum(apart)

    def fits(self, model: Model, way: Offload, working: int = 0, beside: Iterable[Model] = ()) -> bool:
        """Whether the device has room for `model`, the work on it, and those `beside` it."""
        return self.taken(beside, model, way) + working <= self.device_bytes

    def is_in_ram(self, model: Model) -> bool:
        """Whether its weights take RAM."""
        return model.value is not None and (model.way is not Offload.none or not self.apart)

    def ram_fits(self, coming: int) -> bool:
        """Whether RAM has room for `coming` bytes beside what is there."""
        held = [model.parts for model in self.models.values() if self.is_in_ram(model)]
        parts = {key: part for each in held for key, part in each.items()}
        return offload.size(parts.values()) + coming <= self.ram_bytes
