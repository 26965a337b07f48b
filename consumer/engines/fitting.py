"""A picture that was fetched, made to fit the size that is drawn: cropped in the middle, never stretched."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

LEAST = 64


def fit(pixels: NDArray[np.uint8], width: int, height: int) -> Image.Image:
    """`pixels`, uint8 RGB (h, w, 3), as an RGB picture of this size in pixels: the largest part in the middle that has
    its aspect, resized."""
    return ImageOps.fit(Image.fromarray(pixels, "RGB"), (width, height), Image.Resampling.LANCZOS)


def size_like(pixels: NDArray[np.uint8], width: int, height: int, multiple: int, most: int = 2048) -> tuple[int, int]:
    """(width, height) in the aspect of `pixels`, (h, w, 3), with about as many pixels as width x height.

    Both sides are multiples of `multiple`, from 64 to `most`; of a picture that is too long for that, `fit` keeps
    the middle."""
    down, across = pixels.shape[:2]
    scale = min(math.sqrt(width * height / (across * down)), most / max(across, down))
    least, most = -(-LEAST // multiple), most // multiple
    wide, high = (min(max(round(side * scale / multiple), least), most) * multiple for side in (across, down))
    return wide, high
