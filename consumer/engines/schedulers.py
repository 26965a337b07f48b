"""The schedulers that a request may name."""
# ruff: noqa: PLC0415

from collections.abc import Mapping
from typing import Any

from consumer.errors import RejectedError

# A name, its class in diffusers, and what differs from the configuration that the model came with.
SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {"use_karras_sigmas": False}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": False}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {"use_karras_sigmas": False}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "lcm": ("LCMScheduler", {}),
}
# LCM takes its steps out of the 50 that such models were distilled from.
MOST_STEPS = {"lcm": 50}


def check_scheduler(name: str | None, steps: int) -> None:
    """Raise RejectedError for a scheduler that is not in the table, or one that cannot run so many steps."""
    if name is None:
        return
    if name not in SCHEDULERS:
        raise RejectedError(f"scheduler must be one of {', '.join(SCHEDULERS)}.")
    most = MOST_STEPS.get(name, steps)
    if steps > most:
        raise RejectedError(f"steps must be at most {most} with the scheduler {name}.")


def make_scheduler(name: str | None, own: Any, steps: int) -> Any:
    """A scheduler without a past, set to `steps`: the named one, or a copy of `own`, the model's."""
    import diffusers

    kind, changes = SCHEDULERS[name] if name else (type(own).__name__, {})
    scheduler = getattr(diffusers, kind).from_config(own.config, **changes)
    scheduler.set_timesteps(steps)
    return scheduler


def scheduler_name(scheduler: Any) -> str:
    """The name that a request would ask for `scheduler` by, else its class."""
    kind = type(scheduler).__name__
    for name, (candidate, changes) in SCHEDULERS.items():
        if candidate == kind and all(scheduler.config.get(key) == value for key, value in changes.items()):
            return name
    return kind
