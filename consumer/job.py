"""The nouns of the system. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

MEASURED = [
    *("width", "height", "format", "mime_type", "file_size_bytes", "asset_index", "seed", "batch_size"),
    *("steps", "guidance_scale", "scheduler", "model", "duration_seconds", "fps", "num_frames"),
]
"""The fields of an asset's metadata that jobs.metadata.assets repeats."""


class Status(StrEnum):
    """The states of a job, and of each of its assets."""

    queued = "queued"
    processing = "processing"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"


class Medium(StrEnum):
    """What a job type makes, and so in which table its assets live: `images` or `videos`."""

    image = "image"
    video = "video"


@dataclass(frozen=True, slots=True)
class JobType:
    """A name that frontends use, and what it means: an engine, a medium, counts and defaults.

    `cost` is the weight of one job in the order of service, in seconds of an average GPU.
    `defaults` are request fields (steps, guidance_scale, width, height, num_frames, fps, ...) used where
    the request is silent. `model` is for the engine: a hub id, a folder or a file; "" leaves it to the settings.
    """

    name: str
    engine: str
    medium: Medium
    count: int = 1
    max_count: int = 1
    cost: float = 1.0
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed row of `jobs`. `metadata` is the request as the frontend sent it: untrusted, and the text itself
    where it is JSON that Python cannot hold. `given_back` counts the attempts that did not count, for a worker was to
    blame; `lost` those that ended with their worker. `limited`: another job of its user may be held until this one has
    ended. `pending`: the indexes of its images that had no result when it was claimed; None where that must be asked,
    because there were none, or rows of the application's."""

    id: UUID
    user_id: UUID
    job_type: str
    engine: str
    claim_id: int
    attempts: int
    max_attempts: int
    metadata: Any
    original_prompt: str | None = None
    enhanced_prompt: str | None = None
    given_back: int = 0
    lost: int = 0
    limited: bool = False
    pending: Sequence[int] | None = None
