"""What makes a pipeline faster than diffusers' defaults do; the pictures stay the same within rounding.

By default, what costs nothing: on a GPU, weights in the order that its convolutions like best (channels last), and
TensorFloat-32 where something is computed in float32. `fast` is for a worker that runs for hours: query, key and value
of an attention in one matrix, and the repeated blocks of the denoiser compiled, once for all sizes and batches.

A LoRA changes the very layers that are fused, and every other LoRA would be compiled anew, for longer than that saves:
where there is a folder of LoRAs, `fast` does neither. Nor does it compile what is moved to the device layer by layer.
"""
# ruff: noqa: PLC0415

import os
import shutil
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from consumer.engines.base import Options
from consumer.errors import EngineUnusableError

if TYPE_CHECKING:
    import torch

MOST_VARIANTS = 64
"""Of the compiled form of one block: by width, for a batch of one, ...; torch gives up after 8."""

# Every compiled denoiser, and whether it has worked since; pipelines share denoisers.
_worked: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def prepare(pipe: Any, options: Options, device: "torch.device", backend: str | Any = None) -> None:
    """Set up a pipeline that was just built, once.

    `backend` is a compiler in torch's sense; without one, `fast` compiles for a GPU only, with torch's own. Raises
    EngineUnusableError where that lacks a C compiler."""
    import torch

    fast = options.speed == "fast"
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        backend = backend or "inductor"
    if (fast or device.type == "cuda") and hasattr(pipe, "unet"):
        for part in (pipe.unet, pipe.vae):
            part.to(memory_format=torch.channels_last)
    if not fast or options.lora_dir is not None:
        return
    for denoiser in _denoisers(pipe):
        _fuse(denoiser)
        if backend and options.offload != "group":
            _compile(denoiser, backend)


def compiles(pipe: Any) -> bool:
    """Whether the next call of `pipe` compiles first, which takes minutes. What it compiles again later, for a batch of
    one say, takes no longer than a step may."""
    return any(not _worked.get(denoiser, True) for denoiser in _denoisers(pipe))


def _denoisers(pipe: Any) -> list[Any]:
    parts = (getattr(pipe, name, None) for name in ("unet", "transformer", "transformer_2"))
    return [part for part in parts if part is not None]


def _fuse(denoiser: Any) -> None:
    """Compute query, key and value with one matrix, and let go of the three that it was made of."""
    attentions = [part for part in denoiser.modules() if hasattr(part, "fuse_projections")]
    if any(part.fused_projections for part in attentions):
        return
    denoiser.fuse_qkv_projections()
    for part in attentions:
        for name in ("to_k", "to_v") if part.is_cross_attention else ("to_q", "to_k", "to_v"):
            delattr(part, name)


def _compile(denoiser: Any, backend: str | Any) -> None:
    import torch

    if denoiser in _worked:
        return
    if backend == "inductor" and not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        raise EngineUnusableError(
            "CONSUMER_SPEED is fast, which compiles the model, and there is no C compiler here: "
            "install gcc, or set it to default."
        )
    torch._dynamo.config.recompile_limit = MOST_VARIANTS
    # A block that the compiler cannot do works as it is, rather than fail a job.
    torch._dynamo.config.suppress_errors = True
    # The blocks alone, because the whole would take ten times as long at each start; any size at once, because a queue
    # is mixed.
    denoiser.compile_repeated_blocks(backend=backend, dynamic=True)
    _worked[denoiser] = False
    denoiser.register_forward_hook(_note)


def _note(denoiser: Any, *_: Any) -> None:
    _worked[denoiser] = True
