"""What the diffusion engines share: the libraries, the device, seeds, batches, pixels, and torch's errors.

torch and diffusers cost seconds and hundreds of megabytes to import, so only functions import them.
"""
# ruff: noqa: PLC0415

import gc
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from consumer.engines.base import OnStep, Phase
from consumer.errors import ConsumerError, EngineUnusableError, OutOfMemoryError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

OFFLOAD_STATE = ("_all_hooks", "_offload_device", "_offload_gpu_id")

# What torch says where memory is short; the libraries of CUDA cannot even begin then.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "STATUS_NOT_INITIALIZED")
# And where something on the device failed, once or for good.
FAILED = ("CUDA error", "CUDA driver error", "cuDNN error")


def import_diffusers() -> Any:
    """The diffusers package, made silent. Raises EngineUnusableError where it cannot be imported."""
    try:
        from transformers.utils import logging

        # First of all, because importing diffusers already makes transformers talk.
        logging.set_verbosity_error()
        import diffusers
    except ImportError as error:
        missing = error.name or "diffusers"
        raise EngineUnusableError(f"This engine cannot import {missing}: install the extra `gpu`.") from error
    logging.disable_progress_bar()
    silence_hub()
    # Its warnings quote the part of a prompt that was cut off.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    return diffusers


def silence_hub() -> None:
    """No progress bars of the hub's client, and none of its warnings, which quote addresses."""
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    disable_progress_bars()


def choose_device(name: str) -> "torch.device":
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. Raises EngineUnusableError for others."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineUnusableError(
            f"The device {name} cannot be used here: set CONSUMER_DEVICE to auto, cpu or another."
        ) from error
    return device


def memory(name: str) -> dict[str, Any] | None:
    """Of a GPU, `name` as in `choose_device`: device (its name), free and total (bytes); None where it is none."""
    import torch

    device = choose_device(name)
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return {"device": torch.cuda.get_device_name(device), "free": free, "total": total}


def choose_dtype(device: "torch.device") -> "torch.dtype":
    """float32 on a CPU; elsewhere bfloat16 where the device has it, else float16."""
    import torch

    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda":
        # The question is about the current device, which need not be ours.
        with torch.cuda.device(device):
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return torch.bfloat16
    return torch.float16


def generators(seed: int, indexes: Sequence[int]) -> "list[torch.Generator]":
    """A generator for each index, seeded with seed + index, so that a picture does not depend on its batch.

    They live on the CPU, so that it does not depend on the device either."""
    import torch

    return [torch.Generator("cpu").manual_seed(seed + index) for index in indexes]


def step_callback(indexes: Sequence[int], on_step: OnStep) -> Callable[..., dict[str, Any]]:
    """`on_step` in the shape of a pipeline's `callback_on_step_end`; after the last step it begins to decode."""

    def callback(pipe: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done, total = step + 1, pipe.num_timesteps
        on_step(indexes, done, total, Phase.decode if done == total else Phase.step)
        return tensors

    return callback


def variant(pipe: Any, pipeline: Any, **settings: Any) -> Any:
    """The parts of `pipe` as another pipeline of diffusers, which may need fewer; no weight is copied or cast."""
    if isinstance(pipe, pipeline):
        return pipe
    known = inspect.signature(pipeline.__init__).parameters
    other = pipeline(**{name: part for name, part in pipe.components.items() if name in known}, **settings)
    # What brings the parts to the device goes with them, so that `maybe_free_model_hooks` of either sends them back.
    other.__dict__.update({name: pipe.__dict__[name] for name in OFFLOAD_STATE if name in pipe.__dict__})
    return other


def to_pixels(pictures: "torch.Tensor") -> NDArray[np.uint8]:
    """Pictures (n, 3, height, width) in 0..1 as uint8 (n, height, width, 3), rounded on their own device.

    Raises ConsumerError for what is no number, which would be a black picture."""
    import torch

    if not pictures.isfinite().all():
        raise ConsumerError("The model's numbers overflowed: another scheduler, or a LoRA of less strength, may help.")
    rounded = pictures.float().mul(255).round_().to(torch.uint8)
    pixels: NDArray[np.uint8] = rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels


def guarded(work: Callable[[], T]) -> T:
    """What `work` returns; torch's errors about memory or a broken device become ours."""
    try:
        return work()
    except RuntimeError as error:
        failure = translate(error)
        if failure is None:
            raise
    # Only out here is the traceback gone, and with it the tensors that its frames held.
    if isinstance(failure, OutOfMemoryError):
        free_memory()
    raise failure


def translate(error: RuntimeError) -> ConsumerError | None:
    """Our error for one of torch's, or None where torch is not to blame."""
    import torch

    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
        return OutOfMemoryError("The device ran out of memory: a smaller width or height may fit.")
    # AcceleratorError is younger than the oldest torch that we accept.
    failed = isinstance(error, getattr(torch, "AcceleratorError", ())) or any(sign in text for sign in FAILED)
    if failed and not alive():
        return EngineUnusableError("The device failed, and only a new process can use it again.")
    return None


def alive() -> bool:
    """Whether the GPUs that this process uses still work, after an error that may have outlived the call it was of."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return True
    try:
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index):
                torch.zeros(1, device=f"cuda:{index}")
                torch.cuda.synchronize(index)
    except torch.OutOfMemoryError:
        # A device that is merely full has answered.
        return True
    except RuntimeError:
        return False
    return True


def free_memory() -> None:
    """Give the memory of what nobody holds any longer back to the device."""
    gc.collect()
    empty_cache()


def empty_cache() -> None:
    """Give the memory that torch keeps for later back to the device. Raises EngineUnusableError for a broken one."""
    import torch

    if torch.cuda.is_available():
        # Not `guarded`, which comes here itself.
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            if failure := translate(error):
                raise failure from error
            raise


def synchronize(device: "torch.device") -> None:
    """Wait until a GPU is done with all that it was given. Raises what torch raises."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
