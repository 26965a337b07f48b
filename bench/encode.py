"""Our way from pixels to files against the defaults of Pillow and PyAV: `python bench/encode.py [--quick]`.

Pictures of 1024 x 1024 with and without noise, and a video of 81 frames of 480 x 832. Whatever a route makes is decoded
and compared with the pixels before it is timed. All routes of one kind run in turn, so that noise meets them alike: one
after the other in one thread, and then two at a time.
"""

import argparse
import io
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

import av
import numpy as np
from PIL import Image, ImageSequence

import pictures
from consumer import encode
from pictures import Pixels
from tables import table

FPS = 16
SMALL = (encode.THUMBNAIL_SIDE, encode.THUMBNAIL_SIDE)


@dataclass(frozen=True, slots=True)
class Route:
    """One way to make a file of pixels. `decibels` is how near to them it must come (PSNR)."""

    name: str
    make: Callable[[Pixels], bytes]
    read: Callable[[bytes], Pixels]
    decibels: float


def pillow_png(pixels: Pixels) -> bytes:
    """Pillow's default, level 6."""
    return saved(Image.fromarray(pixels), "PNG")


def pillow_thumbnail(pixels: Pixels) -> bytes:
    """Pillow's default, quality 80 and method 4."""
    image = Image.fromarray(pixels)
    image.thumbnail(SMALL)
    return saved(image, "WEBP")


def pillow_animation(pixels: Pixels) -> bytes:
    """All frames as an animated WebP, which is the video that Pillow can make; a GIF takes minutes."""
    first, *others = [Image.fromarray(frame) for frame in pixels]
    return saved(first, "WEBP", save_all=True, append_images=others, duration=round(1000 / FPS))


def pyav_mp4(pixels: Pixels) -> bytes:
    """PyAV's default for H.264: preset medium, crf 23, and no word about colours."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as Pillow saves it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read_picture(data: bytes) -> Pixels:
    """uint8 (height, width, 3)."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def read_animation(data: bytes) -> Pixels:
    """uint8 (frames, height, width, 3)."""
    with Image.open(io.BytesIO(data)) as image:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def read_mp4(data: bytes) -> Pixels:
    """uint8 (frames, height, width, 3), in the colours that the file says, or else in those of small videos."""
    with av.open(io.BytesIO(data)) as container:
        told = container.streams.video[0].codec_context.colorspace == 1
        space = "ITU709" if told else "ITU601"
        frames = [frame.to_ndarray(format="rgb24", src_colorspace=space) for frame in container.decode(video=0)]
    return np.stack(frames)


def small(pixels: Pixels) -> Pixels:
    """What a thumbnail is to look like."""
    image = Image.fromarray(pixels)
    image.thumbnail(SMALL)
    return np.asarray(image)


PNG = [
    Route("PNG, Pillow's default", pillow_png, read_picture, math.inf),
    Route("PNG, ours", lambda pixels: encode.png(pixels).data, read_picture, math.inf),
]
THUMBNAIL = [
    Route("thumbnail, Pillow's default WebP", pillow_thumbnail, read_picture, 28),
    Route("thumbnail, ours", lambda pixels: encode.thumbnail(pixels).data, read_picture, 28),
]
VIDEO = [
    Route("animated WebP, Pillow's default", pillow_animation, read_animation, 28),
    Route("MP4, PyAV's default", pyav_mp4, read_mp4, 28),
    Route("MP4, ours", lambda pixels: encode.mp4(pixels, FPS).data, read_mp4, 28),
]


def psnr(one: Pixels, other: Pixels) -> float:
    """Decibels between two pictures or videos; infinite where they are the same."""
    assert one.shape == other.shape, f"{one.shape} is not {other.shape}"
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(material: str, pixels: Pixels, wanted: Pixels, routes: Sequence[Route], runs: int) -> list[dict[str, Any]]:
    """The rows of one material; the first route is what the others are compared with."""
    made = [route.make(pixels) for route in routes]
    near = [psnr(route.read(data), wanted) for route, data in zip(routes, made, strict=True)]
    for route, decibels in zip(routes, near, strict=True):
        assert decibels >= route.decibels, f"{route.name} of {material} is only {decibels:.1f} dB near"
    alone: dict[str, list[float]] = {route.name: [] for route in routes}
    together: dict[str, list[float]] = {route.name: [] for route in routes}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(runs):
            for route in routes:
                alone[route.name].append(timed(lambda make=route.make: make(pixels)))  # type: ignore[misc]
                both = timed(lambda make=route.make: list(pool.map(make, [pixels, pixels])))  # type: ignore[misc]
                together[route.name].append(both / 2)
    base = median(alone[routes[0].name])
    return [
        {
            "of": material,
            "route": route.name,
            "ms": round(1000 * median(alone[route.name]), 1),
            "ms each, two threads": round(1000 * median(together[route.name]), 1),
            "times as fast": round(base / median(alone[route.name]), 1),
            "KiB": round(len(data) / 1024, 1),
            "size": f"{len(data) / len(made[0]):.2f}",
            "PSNR dB": "lossless" if decibels == math.inf else round(decibels, 1),
        }
        for route, data, decibels in zip(routes, made, near, strict=True)
    ]


def main() -> None:
    """Each kind of file, in one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small sizes and one run, to see that it works")
    quick = parser.parse_args().quick
    side, frames, height, width, runs = (128, 5, 96, 160, 1) if quick else (1024, 81, 480, 832, 9)
    rows = []
    for noise in (0, 2, 6):
        pixels = pictures.picture(side, side, noise)
        name = f"picture, noise {noise}"
        rows += measure(name, pixels, pixels, PNG, runs)
        rows += measure(name, pixels, small(pixels), THUMBNAIL, runs)
    pixels = pictures.film(frames, height, width, noise=2)
    rows += measure("video, noise 2", pixels, pixels, VIDEO, 1 + runs // 4)
    table(rows)


if __name__ == "__main__":
    main()
