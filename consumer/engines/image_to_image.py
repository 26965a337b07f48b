"""Image-to-image without further weights: what a reference becomes before noise is laid over it, and how much noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from PIL import Image, ImageFilter

from consumer.engines.fitting import fit, size_like
from consumer.errors import ConsumerError
from consumer.request import Request

# How much of a picture is drawn anew, from 0 to 1, where no reference_strength is sent; by reference_type.
# composition: the reference as it is, with much of it drawn anew: what is where stays.
# style: only the palette and the light of the reference.
# character: the reference as it is, with little of it drawn anew: who is in it stays.
DENOISE: Mapping[str | None, float] = {None: 0.5, "composition": 0.55, "style": 0.65, "character": 0.4}

COPY_DENOISE = 0.05
COPY_GUIDANCE = 1.0
# A single step of 50, which is all that some schedulers have.
LEAST_DENOISE = 0.02

# The radius of the blur that leaves no contour, as a part of the shorter side.
BLUR = 1 / 16


@dataclass(frozen=True, slots=True)
class Start:
    """What a picture is drawn over: an RGB picture of the same size, and how much of it is drawn anew (0 to 1).

    `told` is what metadata says of it."""

    picture: Image.Image
    denoise: float
    told: Mapping[str, Any]


def begin(request: Request, multiple: int) -> tuple[Request, Start | None]:
    """`request` with the size, steps and guidance that will really be used, and what it starts from; None for text
    alone.

    A request for no size gets the aspect of its reference, in multiples of `multiple` pixels. Raises ConsumerError
    where the reference was not fetched."""
    if request.reference_url is None and not request.exact_copy_mode:
        return request, None
    reference = request.references.get("reference_url")
    if reference is None:
        raise ConsumerError("The reference was not fetched.")
    pixels = reference.pixels
    copy = request.exact_copy_mode
    kind = None if copy else request.reference_type
    denoise = COPY_DENOISE if copy else denoise_of(request)
    changes: dict[str, Any] = {"steps": enough_steps(request.steps, denoise)}
    if copy:
        changes["guidance_scale"] = COPY_GUIDANCE
    if not request.sized:
        changes["width"], changes["height"] = size_like(pixels, request.width, request.height, multiple)
    request = request.model_copy(update=changes)
    told: dict[str, Any] = {
        "mode": "copy" if copy else "modify",
        "denoise_strength": denoise,
        "reference_width": pixels.shape[1],
        "reference_height": pixels.shape[0],
    }
    if kind:
        told["reference_type"] = kind
    return request, Start(prepare(fit(pixels, request.width, request.height), kind), denoise, told)


def denoise_of(request: Request) -> float:
    """How much of the picture is drawn anew: what reference_strength leaves, else as is usual for reference_type."""
    if request.reference_strength is None:
        return DENOISE[request.reference_type]
    return max(round(1 - request.reference_strength, 6), LEAST_DENOISE)


def enough_steps(steps: int, denoise: float) -> int:
    """`steps`, or as many more as it takes for one of them to be drawn: diffusers draws int(steps * denoise)."""
    return next(more for more in count(steps) if int(more * denoise) >= 1)


def prepare(picture: Image.Image, reference_type: str | None) -> Image.Image:
    """What is drawn over: for style a strong blur of `picture`, which keeps colours and light and no contours."""
    if reference_type == "style":
        return picture.filter(ImageFilter.GaussianBlur(BLUR * min(picture.size)))
    return picture
