"""A jobs row becomes a validated Request, or RejectedError with one sentence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from consumer.errors import ConsumerError, RejectedError
from consumer.fields import Fields, canonical, check, read
from consumer.job import Job, JobType, Medium
from consumer.sizes import frames, size

# What a job type gets that leaves them open.
PLAIN = read({"steps": 25, "guidance_scale": 7.0, "width": 1024, "height": 1024, "num_frames": 81, "fps": 16.0})


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture that a request refers to: its `data` as it was fetched, once, and the `pixels` decoded from them,
    uint8 RGB of shape (height, width, 3), upright and without transparency."""

    data: bytes
    pixels: NDArray[np.uint8]


class Request(BaseModel):
    """What an engine is asked to make: every field checked, every default filled in.

    Lengths are in pixels, `fps` in frames per second; a picture has one frame. `reference_strength` runs from
    0 (ignore the reference) to 1 (copy it). URLs are as they were sent, not trusted; `references` has what was
    fetched from them, by the name of their field. `model` is the job type's own ("": the engine's). `sized` says
    whether the request asked for a size; `lora` has pairs of a name and a strength.
    `compel_weights` are pairs of a word and its weight. `looks` are style, shot and angle, which end the prompt.
    `enhancement_model` is None where the prompt stays as it is. `extra` holds the fields that are none of ours.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    job_type: str
    medium: Medium
    model: str = ""
    prompt: str
    looks: tuple[str, ...] = ()
    negative_prompt: str = ""
    count: int
    seed: int
    steps: int
    guidance_scale: float
    width: int
    height: int
    sized: bool = False
    num_frames: int = 1
    fps: float = 16.0
    motion_intensity: float | None = None
    quality: str | None = None
    scheduler: str | None = None
    reference_url: str | None = None
    reference_strength: float | None = None
    reference_type: str | None = None
    exact_copy_mode: bool = False
    start_reference_url: str | None = None
    end_reference_url: str | None = None
    references: Mapping[str, Reference] = {}
    compel_enabled: bool | None = None
    compel_weights: tuple[tuple[str, float], ...] = ()
    lora: tuple[tuple[str, float], ...] = ()
    enhancement_model: str | None = None
    extra: Mapping[str, Any] = {}

    def with_text(self, text: str) -> "Request":
        """The same request for another text, which was made from all of the prompt: it may name the looks already."""
        return self.model_copy(update={"prompt": ", ".join([text, *unnamed(self.looks, text)])})


SHARED = set(Request.model_fields) & set(Fields.model_fields)


def parse(job: Job, job_type: JobType) -> Request:
    """The request of `job`, with the defaults of `job_type` where it is silent.

    What concerns only videos is left aside for a picture. Raises RejectedError for what can never work, and
    ConsumerError when there is no seed: the claim stores one.
    """
    metadata = {} if job.metadata is None else job.metadata
    if not isinstance(metadata, dict):
        raise RejectedError("metadata must be an object, without extreme numbers or nesting.")
    sent = read(metadata, job_type.max_count)
    usual = defaults(job_type)
    wanted = over(usual, sent)
    if wanted.exact_copy_mode and not wanted.reference_url:
        raise RejectedError("exact_copy_mode needs a reference_image_url.")
    width, height = size(sent, (usual.width or 0, usual.height or 0))
    text, looks = words(job, wanted)
    request = {
        **wanted.model_dump(include=SHARED, exclude_none=True),
        "job_type": job_type.name,
        "medium": job_type.medium,
        "model": job_type.model,
        "prompt": ", ".join(filter(None, [text, *looks])),
        "looks": looks,
        "count": wanted.num_images or job_type.count,
        "width": width,
        "height": height,
        "sized": sent.width is not None or sent.aspect_ratio is not None,
        "num_frames": frames(sent, usual, wanted.fps or 0) if job_type.medium is Medium.video else 1,
        "compel_weights": () if wanted.compel_enabled is False else wanted.compel_weights or (),
        "enhancement_model": None if not text or told(metadata) else enhancement_model(job, wanted),
        "extra": {name: value for name, value in metadata.items() if canonical(name) is None},
    }
    if sent.seed is None:
        raise ConsumerError("The seed is missing: claiming a job stores one.")
    return Request.model_validate(request)


@cache
def defaults(job_type: JobType) -> Fields:
    """What a request of this type gets where it is silent."""
    return over(PLAIN, read(job_type.defaults))


def over(base: Fields, top: Fields) -> Fields:
    """`base` where `top` is silent."""
    return base.model_copy(update=top.model_dump(exclude_none=True))


def words(job: Job, wanted: Fields) -> tuple[str, tuple[str, ...]]:
    """The text to draw, the first of enhanced, original and sent prompt; then style, shot and angle, without those that
    an enhanced prompt names."""
    enhanced = check("enhanced_prompt", job.enhanced_prompt, "prompt")
    original = check("original_prompt", job.original_prompt, "prompt")
    text = enhanced or original or wanted.prompt or ""
    if not text and not wanted.exact_copy_mode:
        raise RejectedError("prompt must not be empty.")
    sent = (wanted.style, wanted.shot_type, wanted.camera_angle)
    looks = tuple(look for look in sent if look and look != "none")
    return text, unnamed(looks, text) if enhanced else looks


def unnamed(looks: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Those of `looks` that `text` does not have word for word."""
    return tuple(look for look in looks if not re.search(rf"(?<!\w){re.escape(look)}(?!\w)", text, flags=re.IGNORECASE))


def told(metadata: Mapping[str, Any]) -> bool:
    """Whether an earlier attempt found out what becomes of the prompt: a job is drawn with one prompt, not with two."""
    enhancement = metadata.get("enhancement")
    return isinstance(enhancement, dict) and isinstance(enhancement.get("result"), str)


def enhancement_model(job: Job, wanted: Fields) -> str | None:
    """The language model that rewrites the prompt first; a prompt that was enhanced before stays as it is."""
    if (job.enhanced_prompt or "").strip() or wanted.skip_enhancement or wanted.enhancement_model == "none":
        return None
    return wanted.enhancement_model or ("qwen_instruct" if wanted.enhance else None)
