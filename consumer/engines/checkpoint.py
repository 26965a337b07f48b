"""A model reference (a hub id, a folder, a .safetensors file or `tiny`) becomes a diffusers pipeline."""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.engines import weights
from consumer.engines.diffusion import guarded
from consumer.errors import EngineUnusableError, OutOfMemoryError

if TYPE_CHECKING:
    import torch

TINY = "tiny"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

# Weights in float16, which makers publish beside those in float32, or alone; and weights of no such variant.
FP16 = re.compile(r"\w+\.fp16(-\d+-of-\d+)?\.safetensors")
PLAIN = re.compile(r"\w+(-\d+-of-\d+)?\.safetensors")

ADVICE = {
    "tiny": "its random weights could not be made",
    "folder": "it must be a folder that diffusers can read, with .safetensors weights",
    "file": "it must be a whole .safetensors checkpoint, and its configuration in a folder of the same name "
    "beside it, or on the hub",
    "hub id": "there is no such folder, and as a hub id it is unknown, private, or out of reach",
    "path": "there is no such file or folder",
}

Build = Callable[[], Any]
Parts = MutableMapping[str, Any]


def model_name(model: str) -> str:
    """How metadata and sentences call `model`: a hub id as it is, a file or a folder without its path."""
    return model if _kind(model) == "hub id" else Path(model).name


def key(engine: str, model: str) -> str:
    """The name under which residency keeps `model` for `engine`; it tells no path, though two folders may be called
    the same."""
    name = model_name(model)
    return f"{engine}:{name}" if name == model else f"{engine}:{name}#{zlib.crc32(model.encode()):08x}"


def open_pipeline(
    pipeline: Any,
    model: str,
    *,
    tiny: Build | Mapping[str, Build],
    dtype: "torch.dtype",
    setting: str,
    vae_dtype: "torch.dtype | None" = None,
    parts: Parts | None = None,
) -> Any:
    """`model` loaded into `pipeline`, a class of diffusers, in RAM; `setting` is where it came from.

    `tiny` builds the model of that name, or maps several such names to what builds them. The VAE is kept in
    `vae_dtype` where that is given. `parts` are loaded ones by their fingerprint: those of a folder or a hub id that
    are among them are taken instead of read, and the others are added.

    Only a hub id, and a file without configuration beside it, may use the network. Raises
    EngineUnusableError."""
    builders = tiny if isinstance(tiny, Mapping) else {TINY: tiny}
    kind = "tiny" if model in builders else _kind(model)
    name = model_name(model)
    dtypes = {"default": dtype, "vae": vae_dtype or dtype}
    try:
        if kind == "tiny":
            return guarded(lambda: _cast(builders[model](), dtypes))
        return guarded(lambda: _open(pipeline, kind, model, dtypes, {} if parts is None else parts))
    except EngineUnusableError:
        raise
    except OutOfMemoryError as error:
        raise EngineUnusableError(f"The model {name} does not fit into the machine's memory.") from error
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


def _open(pipeline: Any, kind: str, model: str, dtypes: Mapping[str, Any], parts: Parts) -> Any:
    # Never pickled weights, because they can run code.
    options: dict[str, Any] = {"use_safetensors": True, "add_watermarker": False}
    if kind == "hub id":
        options["variant"] = _variant(*_published(model), half=dtypes["default"].itemsize == 2)
        return _open_folder(pipeline, Path(pipeline.download(model, **options)), dtypes, parts, options)
    path = Path(model).expanduser()
    if kind == "folder":
        options["variant"] = _variant(path / "model_index.json", _weights(path), half=False)
        return _open_folder(pipeline, path, dtypes, parts, options)
    if path.suffix != ".safetensors":
        raise FileNotFoundError
    folders = (path.with_suffix(""), path.parent)
    config = next((str(folder) for folder in folders if (folder / "model_index.json").is_file()), None)
    options |= {"config": config, "local_files_only": True, "dtype": dtypes["default"]}
    return _cast(pipeline.from_single_file(str(path), **options), dtypes)


def _published(model: str) -> tuple[Path, list[str]]:
    """The index of a model on the hub, and the paths of its files; where weights of its largest part are on this disk
    already, only of those that are, so that no others are fetched besides."""
    import huggingface_hub  # noqa: PLC0415

    index = Path(huggingface_hub.hf_hub_download(model, "model_index.json"))
    here = _weights(index.parent)
    large = any(name.startswith(("unet/", "transformer/")) for name in here)
    return index, here if large else huggingface_hub.list_repo_files(model)


def _weights(folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in folder.glob("*/*.safetensors")]


def _variant(index: Path, files: Iterable[str], half: bool) -> str | None:
    """`fp16` where some part has no other weights, or, if they are wanted in `half` precision, where any part has such;
    None for weights of no variant."""
    parts = json.loads(index.read_text())
    names = [(path.parent.name, path.name) for path in map(Path, files) if len(path.parts) == 2]
    small = {part for part, name in names if part in parts and FP16.fullmatch(name)}
    plain = {part for part, name in names if PLAIN.fullmatch(name)}
    return "fp16" if small - plain or (half and small) else None


def _open_folder(
    pipeline: Any, folder: Path, dtypes: Mapping[str, Any], parts: Parts, options: Mapping[str, Any]
) -> Any:
    prints = {
        name: f"{print_} {dtypes.get(name, dtypes['default'])}" for name, print_ in weights.fingerprints(folder).items()
    }
    there = {name: parts[print_] for name, print_ in prints.items() if print_ in parts}
    # Afterwards nothing is cast: some weights stay in float32 because the model's own class says so.
    pipe = pipeline.from_pretrained(folder, dtype=dict(dtypes), local_files_only=True, **options, **there)
    parts.update({print_: getattr(pipe, name) for name, print_ in prints.items() if getattr(pipe, name, None)})
    return pipe


def _cast(pipe: Any, dtypes: Mapping[str, Any]) -> Any:
    import torch  # noqa: PLC0415

    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            part.to(dtypes.get(name, dtypes["default"]))
    return pipe
