"""The palettes of sketch, and the arithmetic of its colours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of an hour, from the zenith down to the ground at one's feet."""

    zenith: str
    sky: str
    horizon: str
    sun: str
    far: str
    near: str
    night: bool = False


PALETTES = (
    Palette("2b4a7f", "e58f8a", "ffd9a8", "fff4d6", "c9707a", "1e1f3d"),  # dawn
    Palette("1f7a99", "8ccfc9", "fdf0cf", "fffdf0", "6fb3b0", "0c3440"),  # a clear morning
    Palette("070b26", "1c2a63", "5a6bb0", "f6f2dc", "3a4a8c", "050819", night=True),  # moonlight
    Palette("7b4b74", "ea8f5c", "ffdf9e", "fff6cf", "c76a48", "33161f"),  # autumn
    Palette("3f86b5", "a9dcc3", "fbf7d9", "ffffff", "73b596", "10362f"),  # spring
    Palette("543a86", "f08aa6", "ffe0d6", "fff7f0", "b3679c", "271541"),  # rose
    Palette("02101f", "0b3f4d", "2f857e", "effff6", "15545c", "010a10", night=True),  # the north
    Palette("2f95c4", "f5cf9a", "ffeaca", "fffaf0", "e2a06c", "6b2c13"),  # desert
    Palette("8aa6c4", "c6d6e6", "f8f4f0", "ffffff", "a3b7cb", "26364a"),  # winter
    Palette("1c0d24", "84213f", "ff8350", "ffdd86", "8f2f49", "12060f"),  # embers
)


def rgb(text: str) -> Floats:
    """`ffd9a8` as three numbers 0..255."""
    return np.array(list(bytes.fromhex(text)), np.float32)


def to_bytes(colours: Floats) -> Pixels:
    """Colours 0..255, rounded."""
    return (colours + 0.5).astype(np.uint8)


def smooth(share: Floats) -> Floats:
    """From 0 to 1 with a soft start and a soft end."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def mix(first: NDArray[Any], second: NDArray[Any], share: ArrayLike) -> Floats:
    """`first` where `share` is 0 or less, `second` where it is 1 or more; one share for each colour."""
    weight = np.clip(np.asarray(share, np.float32), 0, 1)[..., None]
    return first + (second - np.asarray(first, np.float32)) * weight


def noise(x: Floats, octaves: Floats, sharp: bool = False) -> Floats:
    """Fractal noise in 0..1 at `x`: each row of `octaves` is twice as fine and half as strong as the last."""
    total, weight = np.zeros_like(x), 1.0
    for number, values in enumerate(octaves):
        place = x * 2**number
        cell = np.floor(place).astype(np.int64)
        left, right = values[cell % len(values)], values[(cell + 1) % len(values)]
        value = left + (right - left) * smooth(place - cell)
        total += weight * (1 - abs(2 * value - 1) if sharp else value)
        weight /= 2
    return total / (2 - 2 * weight)
