"""The landscapes that sketch draws: a sky, a sun or a moon, lines of hills in the haze, sometimes a lake.

Places are shares of the picture (0..1); other lengths are shares of `scale`, the side in pixels of a square
with the same area, so that a scene looks the same at every size.
"""

import math
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from consumer.engines.colours import PALETTES, Floats, Pixels, mix, noise, rgb, smooth, to_bytes

TURN = 2 * math.pi
# The sky is soft: it is computed with the area of a square of this side, and enlarged.
SKY_SIDE = 256
# So many shades lie between a column far from the sun and the one below it.
SHADES = 64
# How near each line of hills is; a lake lies between its third and its fourth.
HILLS = (0.0, 0.16, 0.34, 0.55, 0.78, 1.0)
SHORES = (0.0, 0.12, 0.26, 0.88, 1.0)
FAR_SHORES = 3


@dataclass(frozen=True, slots=True)
class Ridge:
    """A line of hills, from the horizon (`nearness` 0) to one's feet (1). `trees`: places, heights, widths.

    `colours` (height, SHADES, 3) goes by the pixels below its slope, and by how much of the sun it sees."""

    nearness: float
    base: float
    swing: float
    stretch: float
    octaves: Floats
    trees: Floats
    colours: Pixels


class Scene:
    """A landscape in layers, each of which moves by its distance when one steps aside.

    Neighbouring seeds have different palettes."""

    def __init__(self, prompt: str, seed: int, width: int, height: int) -> None:
        mark = zlib.crc32(prompt.encode(errors="replace"))
        rng = np.random.default_rng([mark, seed & (2**64 - 1)])
        self.width, self.height = width, height
        self.scale = math.sqrt(width * height)
        self.palette = PALETTES[(mark + seed) % len(PALETTES)]
        self.lake = bool(rng.random() < 0.45)
        self.aurora = self.palette.night and bool(rng.random() < 0.6)
        self.horizon = rng.uniform(0.54, 0.62)
        self.sun_x = rng.uniform(0.22, 0.78)
        self.sun_y = self.horizon - rng.uniform(0.14, 0.32) - (0.12 if self.palette.night else 0)
        self.radius = rng.uniform(0.045, 0.085)
        self.stars = _random(rng, 4, 150)
        self.clouds = _random(rng, 22, 7)
        self.veils = _random(rng, 3, 64)
        self.waves = _random(rng, 3) * TURN
        self.across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.scale
        self.ridges = [self._ridge(nearness, rng) for nearness in (SHORES if self.lake else HILLS)]

    def at(self, moment: float, motion: float = 0.5) -> Pixels:
        """The picture, (height, width, 3), at `moment` 0..1 of a walk that ends where it began.

        `motion` 0..1 says how far one steps aside on it."""
        sway = 2 * motion * math.sin(TURN * moment)
        frame = self._sky(moment, sway)
        if self.palette.night:
            self._stars(frame, moment)
        self._disc(frame)
        lines = [self._line(ridge, sway) for ridge in self.ridges]
        hidden = [int(line.max()) + 2 for line in lines[1:]] + [self.height]
        for number, ridge in enumerate(self.ridges):
            if self.lake and number == FAR_SHORES:
                self._mirror(frame, moment)
            self._paint(frame[: hidden[number]], ridge, lines[number], sway)
        return frame

    def _ridge(self, near: float, rng: np.random.Generator) -> Ridge:
        drop = near * 0.08 - 0.02 if self.lake and near < 0.5 else near**1.2 * (0.95 - self.horizon)
        trees = 0 if near < 0.5 else 45 if near < 0.7 else 26
        return Ridge(
            nearness=near,
            base=self.horizon + drop,
            swing=0.34 * (1 - near) ** 1.5 + 0.09,
            stretch=2.3 - 0.9 * near,
            octaves=_random(rng, 6, 64),
            trees=_random(rng, 3, trees),
            colours=self._colours(near),
        )

    def _colours(self, near: float) -> Pixels:
        p = self.palette
        depth = (np.arange(self.height, dtype=np.float32) / self.scale)[:, None]
        haze = mix(rgb(p.horizon), rgb(p.sky), 0.35)
        body = mix(mix(haze, rgb(p.far), 0.45 + 0.55 * min(1, near * 3)), rgb(p.near), near**0.8)
        misty = mix(body, haze, smooth(depth / 0.2) * 0.8 * (1 - near) ** 1.2)
        warm = np.linspace(0, 0.32, SHADES, dtype=np.float32) * (1 - near) * np.exp(-depth / 0.12)
        return to_bytes(mix(misty, rgb(p.sun), warm * (0.5 if p.night else 1)))

    def _sky(self, moment: float, sway: float) -> Pixels:
        width, height = (max(2, round(side / self.scale * SKY_SIDE)) for side in (self.width, self.height))
        x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
        y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        p = self.palette
        down = y / self.horizon
        column = mix(mix(rgb(p.zenith), rgb(p.sky), down / 0.62), rgb(p.horizon), (down - 0.62) / 0.38)
        away = np.hypot((x - self.sun_x) * self.width, (y - self.sun_y) * self.height) / self.scale
        glow = 0.55 * np.exp(-((away / 0.17) ** 2)) + 0.3 * np.exp(-away / 0.3)
        colours = mix(column, rgb(p.sun), glow * (0.5 if p.night else 1))
        if self.aurora:
            colours = self._aurora(colours, x, y, moment)
        light = (rgb(p.horizon) + rgb(p.sun)) / 2
        veil = self._cloudiness(width, height, sway) * np.clip(down * 2.2 - 0.35, 0, 1)
        image = Image.fromarray(to_bytes(mix(colours, light, veil * (0.16 if p.night else 0.5))))
        return np.array(image.resize((self.width, self.height), Image.Resampling.BICUBIC))

    def _cloudiness(self, width: int, height: int, sway: float) -> Floats:
        """Long streaks, (height, width), 0..1: coarse ones that drift, and fine ones that drift faster."""
        lattice, left = Image.fromarray(self.clouds), 0.6 + 0.12 * sway
        coarse, fine = (
            np.asarray(lattice.resize((width, height), Image.Resampling.BICUBIC, box))
            for box in ((left, 0, left + 5.5, 22), (2 * left, 4, 2 * left + 4, 18))
        )
        return smooth((coarse * 0.75 + fine * 0.25 - 0.52) * 3.2)

    def _aurora(self, colours: Floats, x: Floats, y: Floats, moment: float) -> Floats:
        drift = 0.1 * math.sin(TURN * moment)
        up = 0.32 + 0.4 * (noise(x * 2.2 + drift, self.veils[:2]) - 0.5) - y
        rays = 0.25 + 0.75 * noise(x * 19 + 3 * drift, self.veils[:2]) ** 2
        veil = noise(x * 2.3 + 7, self.veils[1:])
        fading = np.exp(-np.maximum(up, 0) / (0.07 + 0.12 * veil) + np.minimum(up, 0) / 0.012)
        tone = mix(rgb("5affaa"), rgb("aa5aff"), up / 0.3)
        return mix(colours, tone, 0.75 * fading * rays * np.clip(veil * 1.6, 0, 1))

    def _stars(self, frame: Pixels, moment: float) -> None:
        place_x, place_y, size, phase = self.stars[..., None, None]
        x, y = place_x * self.width, place_y**1.3 * self.horizon * self.height
        radius = self.scale * (0.0008 + 0.0013 * size**3)
        # No star is smaller than a pixel; in a small picture it is fainter instead.
        faint, radius = np.minimum(radius / 0.6, 1), np.maximum(radius, 0.6)
        reach = np.arange(-math.ceil(2 * radius.max()), math.ceil(2 * radius.max()) + 1)
        columns, rows = np.floor(x) + reach[None, None, :], np.floor(y) + reach[None, :, None]
        away = np.hypot(columns + 0.5 - x, rows + 0.5 - y) / radius
        twinkle = 0.75 + 0.25 * np.sin(TURN * (phase + 2 * moment))
        light = faint * (0.35 + 0.65 * size**2) * twinkle * np.exp(-(away**2))
        where = np.clip(rows, 0, self.height - 1).astype(int), np.clip(columns, 0, self.width - 1).astype(int)
        frame[where] = to_bytes(mix(frame[where], rgb(self.palette.sun), light))

    def _disc(self, frame: Pixels) -> None:
        """The sun; at night a crescent."""
        x, y, radius = self.sun_x * self.width, self.sun_y * self.height, self.radius * self.scale
        top, left = max(0, int(y - radius - 1)), max(0, int(x - radius - 1))
        part = frame[top : int(y + radius + 2), left : int(x + radius + 2)]
        down, right = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]] + 0.5
        cover = np.clip(radius - np.hypot(down - y, right - x) + 0.5, 0, 1)
        if self.palette.night:
            shadow = np.hypot(down - y + 0.25 * radius, right - x - 0.5 * radius)
            cover *= np.clip(shadow - 0.95 * radius + 0.5, 0, 1)
        part[:] = to_bytes(mix(part, rgb(self.palette.sun), cover * 0.96))

    def _along(self, ridge: Ridge, sway: float) -> Floats:
        """Where each column cuts the ridge, seen from a little aside."""
        return self.across + np.float32(0.035 * sway * ridge.nearness)

    def _line(self, ridge: Ridge, sway: float) -> Floats:
        """The row, in pixels, at which the ridge begins in each column; trees stand on it."""
        x = self._along(ridge, sway)
        rise = noise(x * ridge.stretch + 20, ridge.octaves, sharp=ridge.nearness < 0.3) - 0.45
        place, high, wide = ridge.trees[..., None]
        high = (0.012 + 0.05 * ridge.nearness**2) * (0.45 + high)
        cone = 1 - abs(x - (place - 0.5) * 1.15 * self.width / self.scale) / (high * (0.2 + 0.12 * wide))
        branches = np.where(cone > 0, cone * 0.86 + 0.14 * (cone * 5 % 1), 0)
        treetops = (branches * high).max(axis=0, initial=0)
        line: Floats = ridge.base * self.height - self.scale * (ridge.swing * rise + treetops)
        return line

    def _paint(self, frame: Pixels, ridge: Ridge, line: Floats, sway: float) -> None:
        """Cover the frame from the line down; a pixel that the line crosses keeps a part of its colour."""
        top = min(max(0, int(line.min()) - 1), len(frame))
        part = frame[top:]
        rows = np.arange(top, len(frame), dtype=np.float32)[:, None] + 0.5
        steep = np.hypot(1, np.gradient(line)) if self.width > 1 else 1
        cover = np.clip((rows - line) / steep + 0.5, 0, 1)
        # The haze follows the valleys: below each single tree it would hang down like a curtain.
        valley = noise(self._along(ridge, sway) * ridge.stretch + 20, ridge.octaves[:1])
        slope = ridge.base * self.height - self.scale * ridge.swing * (0.8 * valley - 0.2)
        depth = np.clip(rows - slope, 0, self.height - 1).astype(np.int32)
        aside = self.across - (self.sun_x - 0.5) * self.width / self.scale
        shade = (np.exp(-((aside / 0.42) ** 2)) * (SHADES - 1)).astype(np.int32)
        colours = ridge.colours.reshape(-1, 3).take(depth * SHADES + shade, axis=0)
        np.copyto(part, colours, where=(cover >= 1)[..., None])
        edge = np.nonzero((cover > 0) & (cover < 1))
        part[edge] = to_bytes(mix(part[edge], colours[edge], cover[edge]))

    def _mirror(self, frame: Pixels, moment: float) -> None:
        """The lake: what is above its far shore, upside down in the waves, and the sun glinting on them."""
        shore = int((self.horizon + 0.035) * self.height)
        rows = np.arange(self.height - shore, dtype=np.float32)[:, None]
        depth = rows / self.height
        x, far = self.across, 1 / (depth + 0.05)
        first, second, third = self.waves + np.float32(TURN * moment) * np.array([1, -1, 2], np.float32)
        wave = np.sin(7 * x + 9 * far + first) + np.sin(-11 * x + 15 * far + second)
        wave += 0.7 * np.sin(23 * x + 26 * far + third)
        source = shore - 1 - rows * 1.15 + wave * (0.002 + 0.035 * depth) * self.height
        mirrored = frame[np.clip(source, 0, max(0, shore - 1)).astype(np.intp), np.arange(self.width)]
        p = self.palette
        water = mix(mirrored, rgb(p.zenith) * 0.55 + rgb(p.near) * 0.45, 0.16 + 0.9 * depth)
        away = (x * self.scale / self.width + 0.5 - self.sun_x) / (0.05 + 0.25 * depth)
        glint = 0.75 * np.exp(-(away**2)) * np.clip(wave - 0.7, 0, 1)
        frame[shore:] = to_bytes(mix(water, rgb(p.sun), glint))


def _random(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.random(shape, np.float32)
