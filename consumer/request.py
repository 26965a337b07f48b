"""A jobs row becomes a validated Request, or RejectedError with one sentence."""

from pydantic import BaseModel, ConfigDict

from consumer.job import Job, JobType, Medium


class Request(BaseModel):
    """What an engine is asked to make: every field checked, every default filled in."""

    model_config = ConfigDict(frozen=True)

    job_type: str
    medium: Medium
    prompt: str
    negative_prompt: str = ""
    count: int
    seed: int
    steps: int
    guidance_scale: float
    width: int
    height: int
    num_frames: int = 1
    fps: float = 16.0
    scheduler: str | None = None
    reference_url: str | None = None
    reference_strength: float | None = None
    reference_type: str | None = None
    exact_copy_mode: bool = False


def parse(job: Job, job_type: JobType) -> Request:
    """The request of `job`, with the defaults of `job_type`; raises RejectedError."""
    raise NotImplementedError
