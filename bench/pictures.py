"""Synthetic pictures for the benchmarks: made of seeds, so that every run encodes the same bytes."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def picture(height: int, width: int, noise: float = 0.0, seed: int = 0) -> Pixels:
    """uint8 (height, width, 3): a gradient, a texture whose spectrum falls with 1/f as in photographs, discs with
    hard edges, and Gaussian noise of `noise` steps of 255."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    # As in photographs, the channels differ far less from each other than from one place to the next.
    light = _texture(random, height, width)[..., None]
    colour = np.stack([_texture(random, height, width) for _ in range(3)], axis=-1)
    picture = 128 + 28 * light + 5 * colour + 40 * (x / width - y / height)[..., None]
    for _ in range(6):
        centre, radius = random.uniform(0, 1, 2) * (height, width), random.uniform(0.04, 0.15) * min(height, width)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        picture[inside] = 0.5 * picture[inside] + 0.5 * random.uniform(0, 255, 3)
    if noise:
        picture += random.normal(0, noise, picture.shape)
    return picture.round().clip(0, 255).astype(np.uint8)


def film(frames: int, height: int, width: int, noise: float = 0.0, seed: int = 0) -> Pixels:
    """uint8 (frames, height, width, 3): a camera that moves over one picture, two pixels a frame."""
    wide = picture(height, width + 2 * frames, seed=seed)
    random = np.random.default_rng(seed)
    shots = np.stack([wide[:, 2 * number : 2 * number + width] for number in range(frames)])
    if not noise:
        return shots
    return np.stack(
        [(shot + random.normal(0, noise, shot.shape)).round().clip(0, 255).astype(np.uint8) for shot in shots]
    )


def _texture(random: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """(height, width), mean 0 and deviation 1."""
    spectrum = np.fft.rfft2(random.normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    frequency[0, 0] = np.inf
    texture = np.fft.irfft2(spectrum / frequency, s=(height, width))
    normal: NDArray[np.float32] = (texture / texture.std()).astype(np.float32)
    return normal
