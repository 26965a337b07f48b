"""Models for tests of memory: toys of an exact size, and a record of where their weights were sent."""

import contextlib
import gc
import weakref

from consumer.engines.base import Options
from consumer.engines.residency import Residency

MB = 1_000_000

# To torch cpu:0 is where cpu is; as a name it tells what was sent to the device from what was sent back to RAM.
DEVICE = "cpu:0"


def part(megabytes: int):
    """A module of torch whose weights take so many megabytes."""
    import torch

    return torch.nn.utils.skip_init(torch.nn.Linear, 1000, 250 * megabytes, bias=False)


@contextlib.contextmanager
def quick_collections():
    """On one thread, and with what is there already left out of garbage collections, which takes half a second each."""
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Toy:
    """A pipeline as far as it matters here: parts by name."""

    def __init__(self, **components):
        self.components = components


def residency(megabytes: float | None = None, **options) -> Residency:
    """For a device of so many megabytes."""
    vram_gb = None if megabytes is None else megabytes / 1000
    return Residency(Options(**{"device": DEVICE, "vram_gb": vram_gb, **options}))


def use(rooms: Residency, name: str, *megabytes: int, **options):
    """Use a toy model with parts of these sizes, for a moment; what it is."""
    with rooms.use(
        name, lambda: Toy(**{f"part_{i}": part(size) for i, size in enumerate(megabytes)}), **options
    ) as toy:
        return toy


class Whereabouts:
    """Which modules were sent to the device, and not back since."""

    def __init__(self, monkeypatch):
        import torch

        self.there = weakref.WeakValueDictionary[int, torch.nn.Module]()
        move = torch.nn.Module.to

        def to(module, *args, **kwargs):
            wanted = [str(each) for each in (*args, *kwargs.values())]
            if DEVICE in wanted:
                self.there[id(module)] = module
            elif "cpu" in wanted:
                self.there.pop(id(module), None)
            return move(module, *args, **kwargs)

        monkeypatch.setattr(torch.nn.Module, "to", to)

    def has(self, model) -> bool:
        """Whether all of the parts of a toy are there."""
        return all(id(each) in self.there for each in model.components.values())

    @property
    def megabytes(self) -> float:
        """Of all weights on the device."""
        return sum(weights.nbytes for each in self.there.values() for weights in each.parameters()) / MB


@contextlib.contextmanager
def out_of_memory(module, *, when=lambda *_: True):
    """Let a module fail as torch fails where memory runs out, whenever `when` says so of its arguments."""
    import torch

    def fail(_, args):
        if when(*args):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    # Of a patched method, the hooks that come and go on a module would keep a copy.
    hook = module.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        hook.remove()
