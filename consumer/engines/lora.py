"""LoRAs by name, from the folder that the operator configured.

The LoRA NAME is the file NAME.safetensors. A model of two experts (WAN 2.2) gets it in both of them, or
NAME.high_noise.safetensors in the first and NAME.low_noise.safetensors in the second where those are there.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from consumer.engines import diffusion
from consumer.errors import ConsumerError, RejectedError

Loras = Sequence[tuple[str, float]]
Version = tuple[tuple[str, int, int], ...]
"""Files as they were read: the name, the time of the last change, and the size in bytes of each."""

EXPERTS = ("high_noise", "low_noise")

# The first half of each pair of matrices, as trainers call it.
DOWN = re.compile(r"[._](lora_A|lora_down|lora\.down|lora_linear_layer\.down)(\.\w+)?\.weight")
# What only some models of WAN have: layers that see a start frame. The LoRAs of those fit the others without it.
SEES = re.compile("add_[kv]_proj|[kv]_img|image_embedder|img_emb")

# So many stay loaded, and so many bytes of them, for the next job that names them; the rest is read again.
MOST_LOADED = 8
MOST_BYTES = 1 << 30

# By the model that they change, which pipelines share; the one that was used last comes last.
_loaded: WeakKeyDictionary[Any, dict[Version, str]] = WeakKeyDictionary()
_numbers = count()


def check(loras: Loras, folder: Path | None) -> None:
    """Raise RejectedError for a LoRA that is not there. Cheap."""
    for name, _ in loras:
        if not any(_files(name, folder, experts) for experts in (1, 2)):
            raise _missing(name)


@contextmanager
def applied(pipe: Any, loras: Loras, folder: Path | None) -> Iterator[None]:
    """`pipe` with these LoRAs (name, strength), for as long as the `with` lasts, and without any other.

    Those that were used lately are still loaded. Raises RejectedError for a file that is no LoRA of this model."""
    if not loras:
        yield
        return
    try:
        adapters = [_adapter(pipe, name, folder) for name, _ in loras]
        pipe.set_adapters(adapters, [strength for _, strength in loras])
        pipe.enable_lora()
        _forget(pipe, keep=adapters)
        yield
    finally:
        pipe.disable_lora()


def _files(name: str, folder: Path | None, experts: int) -> list[Path]:
    """The file of each expert; none where the folder has no such LoRA."""
    if folder is None:
        raise RejectedError("lora cannot be used: this worker has no folder of LoRAs.")
    own = [folder / f"{name}.{expert}.safetensors" for expert in EXPERTS]
    choices = [own] if experts == 2 else []
    for files in [*choices, [folder / f"{name}.safetensors"] * experts]:
        # A link that leads out of the folder does not count.
        if all(file.is_file() and file.resolve().parent == folder.resolve() for file in files):
            return files
    return []


def _missing(name: str) -> RejectedError:
    return RejectedError(f"lora names {name}, which this worker does not have.")


def _model(pipe: Any) -> Any:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def _adapter(pipe: Any, name: str, folder: Path | None) -> str:
    """The name by which the pipeline knows this LoRA, loaded if need be."""
    files = _files(name, folder, 2 if getattr(pipe, "transformer_2", None) is not None else 1)
    if not files:
        raise _missing(name)
    states = [(file.name, file.stat()) for file in files]
    version = tuple((file, state.st_mtime_ns, state.st_size) for file, state in states)
    loaded = _loaded.setdefault(_model(pipe), {})
    adapter = loaded.pop(version, None) or _load(pipe, name, files)
    loaded[version] = adapter
    return adapter


def _load(pipe: Any, name: str, files: Sequence[Path]) -> str:
    # Numbered, because the name of an adapter must have no dot, and be another one after the file has changed.
    adapter = f"lora_{next(_numbers)}"
    offloaded = any(hasattr(part, "_hf_hook") for part in pipe.components.values())
    with warnings.catch_warnings():
        # peft warns of several adapters on one model, which is what is wanted here.
        warnings.simplefilter("ignore")
        try:
            diffusion.guarded(lambda: _read(pipe, adapter, files))
            _check_whole(pipe, name, adapter, files)
        except Exception as error:
            pipe.delete_adapters(adapter)
            if offloaded:
                # diffusers takes the hooks away for the time of loading, and forgets them when that fails.
                pipe.enable_model_cpu_offload()
            if isinstance(error, ConsumerError):
                raise
            sentence = f"lora names {name}, which could not be loaded: it must be a LoRA of this model."
            raise RejectedError(sentence) from error
    return adapter


def _read(pipe: Any, adapter: str, files: Sequence[Path]) -> None:
    # Never pickled weights, because they can run code.
    options = {"adapter_name": adapter, "use_safetensors": True, "local_files_only": True}
    for file, into in zip(files, ({}, {"load_into_transformer_2": True}), strict=False):
        pipe.load_lora_weights(str(file), **options, **into)
    # diffusers only warns of a file that has nothing for this model.
    changed = [part for part, adapters in pipe.get_list_adapters().items() if adapter in adapters]
    if len(changed) < len(files):
        raise ValueError(f"{adapter} changes only {changed}")


def _check_whole(pipe: Any, name: str, adapter: str, files: Sequence[Path]) -> None:
    """Raise RejectedError where diffusers left out some of the files, which it does without a word."""
    from safetensors import safe_open  # noqa: PLC0415

    keys = []
    for file in files:
        with safe_open(file, "np") as tensors:
            keys += [key for key in tensors.keys() if not SEES.search(key)]  # noqa: SIM118
    if any("dora_scale" in key for key in keys):
        raise RejectedError(f"lora names {name}, which could not be loaded: it is a DoRA, which is another kind.")
    layers = sum(bool(DOWN.search(key)) for key in keys)
    used = sum(
        adapter in getattr(layer, "lora_A", ()) and not SEES.search(place)
        for part in pipe.get_list_adapters()
        for place, layer in getattr(pipe, part).named_modules()
    )
    if used < layers:
        raise RejectedError(f"lora names {name}, of which only {used} of {layers} layers fit this model.")


def _forget(pipe: Any, keep: Sequence[str]) -> None:
    """Unload those that were used longest ago, until the rest is few and small enough."""
    loaded = _loaded[_model(pipe)]
    for version, adapter in list(loaded.items()):
        size = sum(size for each in loaded for _, _, size in each)
        if len(loaded) <= MOST_LOADED and size <= MOST_BYTES:
            return
        if adapter not in keep:
            pipe.delete_adapters(adapter)
            del loaded[version]
