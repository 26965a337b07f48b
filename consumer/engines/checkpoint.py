"""A model reference (a hub id, a folder, a .safetensors file or `tiny`) becomes a diffusers pipeline."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.engines.diffusion import guarded
from consumer.errors import EngineUnusableError, OutOfMemoryError

if TYPE_CHECKING:
    import torch

TINY = "tiny"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

ADVICE = {
    "tiny": "its random weights could not be made",
    "folder": "it must be a folder that diffusers can read, with .safetensors weights",
    "file": "it must be a whole .safetensors checkpoint, and its configuration in a folder of the same name "
    "beside it, or on the hub",
    "hub id": "there is no such folder, and as a hub id it is unknown, private, or out of reach",
    "path": "there is no such file or folder",
}


def model_name(model: str) -> str:
    """How metadata and sentences call `model`: a hub id as it is, a file or a folder without its path."""
    return model if _kind(model) == "hub id" else Path(model).name


def open_pipeline(
    pipeline: Any,
    model: str,
    *,
    tiny: Callable[[], Any],
    dtype: "torch.dtype",
    setting: str,
) -> Any:
    """`model` loaded into `pipeline`, a class of diffusers, in RAM; `setting` is where it came from.

    Only a hub id, and a file without configuration beside it, may use the network. Raises
    EngineUnusableError."""
    kind = _kind(model)
    name = model_name(model)
    try:
        pipe = tiny() if kind == "tiny" else _open(pipeline, kind, model, dtype)
        return guarded(lambda: pipe.to(dtype))
    except EngineUnusableError:
        raise
    except OutOfMemoryError as error:
        raise EngineUnusableError(f"The model {name} does not fit into the device's memory.") from error
    except Exception as error:
        reason = f"{ADVICE[kind]} ({type(error).__name__})"
        raise EngineUnusableError(f"The model {name} could not be loaded: {reason}. See {setting}.") from error


def _kind(model: str) -> str:
    path = Path(model).expanduser()
    if model == TINY:
        return "tiny"
    if path.is_dir():
        return "folder"
    if path.is_file():
        return "file"
    return "hub id" if HUB_ID.fullmatch(model) and path.suffix != ".safetensors" else "path"


def _open(pipeline: Any, kind: str, model: str, dtype: "torch.dtype") -> Any:
    # Never pickled weights, because they can run code.
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "add_watermarker": False}
    if kind == "hub id":
        return pipeline.from_pretrained(model, **options)
    path = Path(model).expanduser()
    if kind == "folder":
        return pipeline.from_pretrained(path, local_files_only=True, **options)
    if path.suffix != ".safetensors":
        raise FileNotFoundError
    folders = (path.with_suffix(""), path.parent)
    config = next((str(folder) for folder in folders if (folder / "model_index.json").is_file()), None)
    return pipeline.from_single_file(str(path), config=config, local_files_only=True, **options)
