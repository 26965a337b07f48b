"""What a WAN model can do, known from its configuration, and the pipeline of diffusers that does it."""
# ruff: noqa: PLC0415

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.engines import checkpoint, diffusion, tiny_wan
from consumer.errors import EngineUnusableError
from consumer.request import Request

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Abilities:
    """`from_text`: a model needs no picture; `from_start`: it can begin with one; `to_end`: and end with another,
    which `pairs` always need. Widths and heights are multiples of `multiple` pixels."""

    from_text: bool
    from_start: bool
    to_end: bool
    pairs: bool
    multiple: int

    def refusal(self, request: Request) -> str | None:
        """Why a model like this cannot make what `request` asks for, in a sentence; None if it can."""
        starts, ends = request.start_reference_url, request.end_reference_url
        if starts and not self.from_start:
            return "start_reference_url needs a model that begins with a picture, and this worker has none."
        if not starts and not self.from_text:
            return "start_reference_url must be sent: this worker's model begins with a picture."
        if ends and not self.to_end:
            return "end_reference_url needs a model that ends with a picture, and this worker has none."
        if self.pairs and not ends:
            return "end_reference_url must be sent: this worker's model leads from one picture to another."
        for field in ("width", "height"):
            if request.sized and getattr(request, field) % self.multiple:
                return f"{field} must be a multiple of {self.multiple} pixels for this worker's model."
        return None


def abilities(transformer: Mapping[str, Any], vae: Mapping[str, Any], expands: bool) -> Abilities:
    """From the configurations of a model's parts. A model that `expands` its timesteps treats the first frame as one
    that is denoised already, and the others as noise: it needs no picture, and cannot end with one."""
    # Room for a picture beside the noise is room that must be filled.
    starts = transformer.get("in_channels", 16) > vae.get("z_dim", 16)
    pairs = transformer.get("pos_embed_seq_len") is not None
    sees = transformer.get("image_dim") is not None
    return Abilities(
        from_text=not starts,
        from_start=starts or expands,
        to_end=starts and (pairs or not sees),
        pairs=pairs,
        multiple=vae.get("scale_factor_spatial", 8) * transformer.get("patch_size", (1, 2, 2))[1],
    )


def abilities_on_disk(model: str) -> Abilities | None:
    """Those of a folder, or of a model from the hub that was fetched before; None where only loading tells."""
    try:
        folder = _folder(model)
        index, transformer, vae = (
            json.loads((folder / name).read_text("utf-8"))
            for name in ("model_index.json", "transformer/config.json", "vae/config.json")
        )
        return abilities(transformer, vae, index.get("expand_timesteps", False))
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _folder(model: str) -> Path:
    """Where the model is on this disk. Raises FileNotFoundError, or ValueError for what is no name on the hub."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    found = try_to_load_from_cache(model, "model_index.json")
    if not isinstance(found, str):
        raise FileNotFoundError
    return Path(found).parent


def abilities_of(pipe: Any) -> Abilities:
    """Those of a pipeline that is loaded."""
    return abilities(pipe.transformer.config, pipe.vae.config, pipe.config.expand_timesteps)


def open_model(model: str, dtype: "torch.dtype", parts: MutableMapping[str, Any], setting: str) -> Any:
    """The pipeline of `model`, in RAM; its VAE is in float32, as its makers advise. `parts` and `setting` are as in
    `open_pipeline`. Raises EngineUnusableError."""
    import torch

    diffusers = diffusion.import_diffusers()
    pipe = checkpoint.open_pipeline(
        diffusers.DiffusionPipeline,
        model,
        tiny=tiny_wan.BUILDERS,
        dtype=dtype,
        vae_dtype=torch.float32,
        setting=setting,
        parts=parts,
    )
    if not isinstance(pipe, diffusers.WanPipeline | diffusers.WanImageToVideoPipeline):
        name = checkpoint.model_name(model)
        raise EngineUnusableError(f"The model {name} is not one of WAN, or of a kind that is not known. See {setting}.")
    _check_words(pipe)
    pipe.set_progress_bar_config(disable=True)
    # To decode a whole batch at once would be the peak of memory, at the very end of the work.
    pipe.vae.enable_slicing()
    return pipe


def _check_words(pipe: Any) -> None:
    """Raise EngineUnusableError where the text encoder was loaded without the words that it knows: UMT5 keeps them
    under one of two names, and not every version of transformers gives them to the other."""
    encoder = pipe.text_encoder
    kept, used = encoder.get_input_embeddings().weight, encoder.encoder.embed_tokens.weight
    if kept is not used and not kept.equal(used):
        raise EngineUnusableError("The text encoder of WAN could not be loaded: it needs transformers 5.3 or newer.")


def pipeline(pipe: Any, *, starts: bool) -> Any:
    """`pipe`, or the same parts as the pipeline that begins with a picture, or that begins with none."""
    diffusers = diffusion.import_diffusers()
    kind = diffusers.WanImageToVideoPipeline if starts else diffusers.WanPipeline
    other = diffusion.variant(
        pipe, kind, boundary_ratio=pipe.config.boundary_ratio, expand_timesteps=pipe.config.expand_timesteps
    )
    other.set_progress_bar_config(disable=True)
    return other
