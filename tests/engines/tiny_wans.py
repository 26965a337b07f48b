"""Tiny WAN videos for tests: how to ask for one, what plain diffusers makes of the same, and how to compare them."""

from functools import cache

import numpy as np

from consumer.engines import checkpoint
from consumer.engines.base import Options
from consumer.engines.tiny_wan import BUILDERS
from consumer.engines.wan import WanEngine
from consumer.job import Medium
from consumer.request import Reference, Request

# Videos of one seed may differ by rounding, for a batch adds up in another order: by 1 of 255.
ROUNDING = 1

STARTS = {"start_reference_url": "start.png"}
ENDS = {"end_reference_url": "end.png"}


def options(**changes) -> Options:
    return Options(**{"device": "cpu", **changes})


def load_tiny(model: str = "tiny", **changes) -> WanEngine:
    """A loaded engine, on one thread: more of them only get into each other's way on a busy machine."""
    import torch

    torch.set_num_threads(1)
    engine = WanEngine(model, options(**changes))
    engine.load(model)
    return engine


def pipe_of(engine: WanEngine, model: str | None = None):
    """The diffusers pipeline inside."""
    with engine._residency.use(checkpoint.key("wan", model or engine.model), lambda: None) as pipe:
        return pipe


@cache
def photo(width: int = 64, height: int = 64, seed: int = 0) -> np.ndarray:
    """A picture to begin or to end with: soft patches of colour."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return small.repeat(-(-height // 4), 0).repeat(-(-width // 4), 1)[:height, :width]


def make_request(**changes) -> Request:
    """A video of five frames; with a start or an end, the pictures for them."""
    plain = {
        "job_type": "video_fast",
        "medium": Medium.video,
        "prompt": "a cat on a mat",
        "count": 1,
        "seed": 40,
        "steps": 3,
        "guidance_scale": 6.5,
        "width": 64,
        "height": 32,
        "sized": True,
        "num_frames": 5,
        "fps": 8.0,
    }
    pictures = {"start_reference_url": photo(), "end_reference_url": photo(seed=1)}
    references = {field: Reference(b"", pixels) for field, pixels in pictures.items() if field in changes}
    return Request(**{**plain, "references": references, **changes})


def make_picture_request(**changes) -> Request:
    return make_request(**{"job_type": "image_fast", "medium": Medium.image, "num_frames": 1, **changes})


def draw(engine, indexes=(0,), on_step=lambda *_: None, **changes):
    """The outputs by index."""
    return outputs_of(engine, make_request(**changes), indexes, on_step)


def draw_pictures(engine, indexes=(0,), on_step=lambda *_: None, **changes):
    return outputs_of(engine, make_picture_request(**changes), indexes, on_step)


def outputs_of(engine, request, indexes, on_step):
    outputs = list(engine.generate(request, indexes, on_step))
    assert [output.index for output in outputs] == list(indexes)
    return {output.index: output for output in outputs}


def plain(model: str, *, seed: int = 40, flow_shift: float = 3.0, **changes) -> np.ndarray:
    """What diffusers itself makes of the tiny model `model`: uint8 (frames, height, width, 3)."""
    import torch
    from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline

    pipe = BUILDERS[model]()
    if "image" in changes and not isinstance(pipe, WanImageToVideoPipeline):
        parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
        pipe = WanImageToVideoPipeline(**parts, expand_timesteps=pipe.config.expand_timesteps)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=flow_shift)
    pipe.set_progress_bar_config(disable=True)
    asked = {
        "prompt": "a cat on a mat",
        "negative_prompt": "",
        "width": 64,
        "height": 32,
        "num_frames": 5,
        "num_inference_steps": 3,
        "guidance_scale": 6.5,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "output_type": "pil",
    }
    [frames] = pipe(**{**asked, **changes}).frames
    return np.stack([np.asarray(frame) for frame in frames])


def difference(one, other) -> int:
    """The largest difference of two outputs, or of pixels, in steps of 255."""
    one, other = (getattr(each, "pixels", each) for each in (one, other))
    return int(np.abs(one.astype(int) - other.astype(int)).max())
