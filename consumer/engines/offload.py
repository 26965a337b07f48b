"""How a model lies on the device: whole, one part after the other, or layer by layer; what that costs there.

A model is a pipeline of diffusers, or a module of torch; its parts are the distinct modules in it.
"""
# ruff: noqa: PLC0415

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TILE = 512
GROUP_HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


class Offload(StrEnum):
    """What of a model waits in RAM until it is needed; from the fastest to the one that takes the least memory."""

    none = "none"
    model = "model"
    group = "group"

    @property
    def rank(self) -> int:
        """The higher, the less memory."""
        return list(Offload).index(self)


def parts(model: Any) -> "dict[int, torch.nn.Module]":
    """The parts of a model, by identity."""
    import torch

    components = getattr(model, "components", {"model": model}).values()
    return {id(part): part for part in components if isinstance(part, torch.nn.Module)}


def size(modules: "Iterable[torch.nn.Module]") -> int:
    """The bytes of all weights in these modules."""
    tensors = {id(tensor): tensor for module in modules for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def ways(model: Any, setting: str, least: Offload = Offload.none) -> list[Offload]:
    """How `model` may be used, the fastest first: as it is set, or for `auto` in each way from `least` on."""
    # What has one part alone cannot take turns with itself.
    known = [way for way in Offload if way is not Offload.model or len(parts(model)) > 1]
    if setting != "auto":
        return [way for way in known if way == setting] or known[:1]
    return [way for way in known if way.rank >= least.rank]


def cost(model: Any, way: Offload) -> int:
    """The most bytes of weights that are on the device at once."""
    modules = parts(model).values()
    if way is Offload.none:
        return size(modules)
    if way is Offload.model:
        return max(size([module]) for module in modules)
    layers = [layer for module in modules for layer in module.modules()]
    largest = max(sum(tensor.nbytes for tensor in _own(layer)) for layer in layers)
    # While one layer works, the next one is already on its way.
    return size([vae] if (vae := _vae(model)) else []) + 2 * largest


def bring(model: Any, way: Offload, device: "torch.device", *, ample_ram: bool = True) -> None:
    """Let `model`, which is in RAM, work on `device`. Raises what torch raises.

    `ample_ram`: RAM has room for a second copy of the weights, which makes `group` faster."""
    if way is Offload.none:
        for part in parts(model).values():
            part.to(device)
    elif way is Offload.model:
        model.enable_model_cpu_offload(device=device)
    else:
        _bring_by_layers(model, device, ample_ram=ample_ram)


def disarm(model: Any) -> None:
    """Take away what moves the parts of `model` by itself; they stay where they are."""
    if hasattr(model, "remove_all_hooks"):
        model.remove_all_hooks()
    for layer in (layer for part in parts(model).values() for layer in part.modules()):
        # The public way to the registry would make one where there is none, and with it a cycle that keeps the part.
        registry: Any = getattr(layer, "_diffusers_hook", None)
        for hook in GROUP_HOOKS if registry else ():
            registry.remove_hook(hook, recurse=False)


def tile(model: Any) -> bool:
    """Let the VAE of `model` work in tiles; False where it has none that can."""
    vae = _vae(model)
    if not hasattr(vae, "use_tiling"):
        return False
    vae.enable_tiling()
    # Some VAEs begin to tile above the size that they were trained with, which is where memory is long gone.
    if hasattr(vae, "tile_latent_min_size") and vae.tile_sample_min_size > TILE:
        vae.tile_latent_min_size = TILE * vae.tile_latent_min_size // vae.tile_sample_min_size
        vae.tile_sample_min_size = TILE
    return True


def untile(model: Any) -> None:
    """Let the VAE of `model` work on the whole again."""
    if is_tiled(model):
        _vae(model).disable_tiling()


def is_tiled(model: Any) -> bool:
    """Whether the VAE of `model` works in tiles."""
    return bool(getattr(_vae(model), "use_tiling", False))


def _vae(model: Any) -> Any:
    return getattr(model, "vae", None)


def _own(layer: "torch.nn.Module") -> "list[torch.Tensor]":
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]


def _bring_by_layers(model: Any, device: "torch.device", *, ample_ram: bool) -> None:
    from diffusers.hooks import apply_group_offloading

    settings: dict[str, Any] = {
        "onload_device": device,
        # By single layers, because text encoders have no list of blocks at their top and would come whole.
        "offload_type": "leaf_level",
        "use_stream": device.type == "cuda",
        # Only from pinned memory do weights come while a GPU works. To pin them all at once makes a second copy, for
        # which the system may kill a process where RAM is short: there each layer is pinned as it goes, and slower.
        "low_cpu_mem_usage": not ample_ram,
    }
    if not hasattr(model, "components"):
        apply_group_offloading(model, **settings)
        return
    # The VAE is small, is cast now and then, and works in tiles: none of which its layers would bear.
    model.enable_group_offload(exclude_modules=["vae"], **settings)
