"""A picture that somebody sent: its bytes become pixels, or there is a sentence that says why not.

The bytes decide what it is, not a name or a header. What it will take is known before anything is decoded.
"""

import warnings
from contextlib import suppress
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from consumer.errors import RejectedError

FORMATS = ("PNG", "JPEG", "WEBP")
LEAST_SIDE = 16
MOST_PIXELS = 40_000_000
MOST_SCANS = 500
"""A JPEG has about ten, and any of them costs as much as a small picture. The mark of one also comes by chance in
bytes that follow the picture, such as a phone's short video: 320 times in 20 MiB."""

# Pillow's own limit, which is higher than ours, would else be a line on stderr.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode(name: str, data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG, JPEG or WebP, uint8 sRGB of shape (height, width, 3): upright, on white where it was
    transparent, the first frame where there are several.

    Raises RejectedError with a sentence about the field `name`. Slow: not for the event loop."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if min(image.size) < LEAST_SIDE or image.width * image.height > MOST_PIXELS:
                raise wrong_size(name)
            if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > MOST_SCANS:
                raise unreadable(name)
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(in_srgb(opaque(image), image.info.get("icc_profile")))
    except (RejectedError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise wrong_size(name) from error
    except Exception as error:
        # A broken file makes Pillow raise nearly anything.
        raise unreadable(name) from error


def wrong_size(name: str) -> RejectedError:
    """The error for a picture that is too small or too large."""
    return RejectedError(
        f"{name} must have at least {LEAST_SIDE} x {LEAST_SIDE} pixels, and at most {MOST_PIXELS // 10**6} million."
    )


def unreadable(name: str) -> RejectedError:
    """The error for what is no picture."""
    return RejectedError(f"{name} must be a PNG, JPEG or WebP picture, whole and unbroken.")


def opaque(image: Image.Image) -> Image.Image:
    """The picture in mode L, RGB or CMYK, 8 bits each, on white."""
    if image.mode == "I;16":
        # Pillow would make everything above 255 white.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An opaque picture in mode RGB, its colours those that its ICC profile means; a wrong profile counts as none."""
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            meant = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if meant is not None:
                return meant
    return image.convert("RGB")
