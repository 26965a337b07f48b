"""What the users of the demo wish for."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from consumer import job_types
from consumer.job import JobType, Medium

USERS = ("ada@example.com", "grace@example.com", "alan@example.com")

WIDE = {"aspect_ratio": "16:9"}

SMALL = {"1:1": (256, 256), "16:9": (320, 192), "3:4": (192, 256)}
"""Sizes in pixels for a model of random weights, whose pictures say as much when they are small."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One job: what a frontend would insert."""

    job_type: str
    prompt: str
    metadata: Mapping[str, Any]


WISHES = (
    Wish("sdxl_image_fast", "a quiet lake between blue hills", {"num_images": 3, "seed": 14}),
    Wish("sdxl_image_high", "the road to the coast, late in the year", {**WIDE, "num_images": 2, "seed": 8}),
    Wish("video_fast", "northern lights over a pine forest", {"num_frames": 49, "seed": 173}),
    Wish("sdxl_image_fast", "morning mist in the valley", {**WIDE, "num_images": 2, "seed": 17}),
    Wish("image_high", "the mountains where the river begins", {"seed": 13}),
    Wish("sdxl_image_high", "an island, far from every map", {"num_images": 3, "seed": 15}),
)


INSTEAD = {"sdxl": {"image": "sdxl_image_fast"}, "wan": {"image": "image_fast", "video": "video_fast"}}
"""The job types in which an engine makes what another one was meant to make."""


def wishes(count: int, engine: str, *, small: bool) -> list[Wish]:
    """The first `count` wishes, in job types that `engine` makes; `small` and quick for a model of random weights."""
    chosen = islice(cycle(WISHES), count)
    if engine == "sketch":
        return list(chosen)
    return [_for_engine(wish, job_types.load(), engine, small=small) for wish in chosen]


def _for_engine(wish: Wish, known: Mapping[str, JobType], engine: str, *, small: bool) -> Wish:
    instead = INSTEAD[engine]
    wanted = known[wish.job_type]
    job_type = wanted if wanted.engine == engine else known[instead.get(wanted.medium, instead["image"])]
    metadata = {"num_images": 1, "aspect_ratio": "1:1" if wanted.engine == "sdxl" else "3:4", **wish.metadata}
    metadata["num_images"] = min(metadata["num_images"], job_type.max_count)
    if job_type.medium is not Medium.video:
        metadata.pop("num_frames", None)
    if small:
        width, height = SMALL[str(metadata.pop("aspect_ratio"))]
        metadata |= {"width": width, "height": height, "steps": 12}
        if job_type.medium is Medium.video:
            metadata |= {"num_frames": 17}
    return Wish(job_type.name, wish.prompt, metadata)
