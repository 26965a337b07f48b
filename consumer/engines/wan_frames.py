"""The frames that a video of WAN is given, and those that it consists of."""
# ruff: noqa: PLC0415

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.engines import diffusion, fitting
from consumer.request import Request

if TYPE_CHECKING:
    import torch

# The request fields, and what a pipeline calls them.
GIVEN = {"start_reference_url": "image", "end_reference_url": "last_image"}
AT_ONCE = 16


def size(request: Request, multiple: int) -> tuple[int, int]:
    """(width, height) in pixels: what was asked for, else the start frame's shape in about the usual area."""
    width, height = request.width, request.height
    if request.start_reference_url and not request.sized:
        return fitting.size_like(request.references["start_reference_url"].pixels, width, height, multiple)
    return width // multiple * multiple, height // multiple * multiple


def given(request: Request, width: int, height: int) -> dict[str, Image.Image]:
    """The frames to begin and to end with as arguments of a pipeline, cropped to this size, in pixels."""
    return {
        name: fitting.fit(request.references[field].pixels, width, height)
        for field, name in GIVEN.items()
        if getattr(request, field)
    }


def decode(pipe: Any, latents: "torch.Tensor") -> NDArray[np.uint8]:
    """The videos of `latents` (n, channels, frames, height, width): uint8 (n, frames, height, width, 3).

    The same as the pipelines themselves make of them, which hold a whole video as floats several times over."""
    import torch

    vae = pipe.vae
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1).to(latents.device, vae.dtype)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        videos = vae.decode(latents.to(vae.dtype) * std + mean, return_dict=False)[0]
        return np.stack([_pixels(video) for video in videos])


def _pixels(video: "torch.Tensor") -> NDArray[np.uint8]:
    """(3, frames, height, width) in -1..1 as uint8 (frames, height, width, 3), some frames at once."""
    frames = video.permute(1, 0, 2, 3)
    parts = (frames[first : first + AT_ONCE] for first in range(0, len(frames), AT_ONCE))
    return np.concatenate([diffusion.to_pixels((part * 0.5 + 0.5).clamp(0, 1)) for part in parts])
