"""Tiny SDXL pictures for tests: how to ask for one, and how to compare two."""

import numpy as np
import pytest

from consumer.engines.base import Options
from consumer.engines.sdxl import SdxlEngine
from consumer.job import Medium
from consumer.request import Reference, Request

MARKS = [
    pytest.mark.models,
    # diffusers 0.42 converts tensors in a way that numpy 2 is about to drop.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

# Pictures of one seed may differ by rounding, for a batch adds up in another order: by 1 of 255.
ROUNDING = 1


CPU = Options(device="cpu")


def load_tiny() -> SdxlEngine:
    """A loaded engine, on one thread: more of them only get into each other's way on a busy machine."""
    import torch

    torch.set_num_threads(1)
    engine = SdxlEngine("tiny", CPU)
    engine.load("tiny")
    return engine


def pipe_of(engine: SdxlEngine):
    """The diffusers pipeline inside."""
    with engine._residency.use("sdxl:tiny", lambda: None) as pipe:
        return pipe


def make_request(**changes) -> Request:
    plain = {
        "job_type": "sdxl_image_fast",
        "medium": Medium.image,
        "prompt": "a cat on a mat",
        "count": 3,
        "seed": 40,
        "steps": 3,
        "guidance_scale": 6.5,
        "width": 64,
        "height": 64,
    }
    return Request(**{**plain, **changes})


def photograph(width: int, height: int):
    """uint8 (height, width, 3): brighter to the right, greener downwards, with a bright disc left of the middle."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    disc = np.hypot(across - 0.35, down - 0.5) < 0.2
    return (np.stack([across, down, np.where(disc, 1.0, 0.2)], axis=2) * 255).astype(np.uint8)


def referring(pixels=None, **changes) -> dict:
    """The fields of a request that refers to these pixels, with a size of its own."""
    pixels = photograph(64, 64) if pixels is None else pixels
    fetched = {"reference_url": Reference(b"", pixels)}
    return {"reference_url": "https://example.com/a.png", "references": fetched, "sized": True, **changes}


def draw(engine, indexes=(0,), on_step=lambda *_: None, **changes):
    """The outputs by index."""
    outputs = list(engine.generate(make_request(**changes), indexes, on_step))
    assert [output.index for output in outputs] == list(indexes)
    return {output.index: output for output in outputs}


def difference(one, other) -> int:
    """The largest difference of two outputs' pixels, in steps of 255."""
    return int(np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max())
