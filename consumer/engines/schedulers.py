"""The schedulers that a request may name."""
# ruff: noqa: PLC0415

import re
from collections.abc import Mapping
from typing import Any

from consumer.errors import RejectedError

PLAIN = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
KARRAS = PLAIN | {"use_karras_sigmas": True}
DPMPP = {"algorithm_type": "dpmsolver++"}
SDE = {"algorithm_type": "sde-dpmsolver++"}

# A name, its class in diffusers, and what differs from the configuration that the model came with. All of them draw
# their noise, if any, from the generators of the pictures.
SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", PLAIN),
    "euler_karras": ("EulerDiscreteScheduler", KARRAS),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "lightning": ("EulerDiscreteScheduler", PLAIN | {"timestep_spacing": "trailing"}),
    "heun": ("HeunDiscreteScheduler", PLAIN),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", PLAIN | DPMPP),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", KARRAS | DPMPP),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", PLAIN | SDE),
    "dpmpp_2m_sde_karras": ("DPMSolverMultistepScheduler", KARRAS | SDE),
    "unipc": ("UniPCMultistepScheduler", PLAIN),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
# These take their steps out of the 50 that such models were distilled from.
MOST_STEPS = {"lcm": 50, "tcd": 50}
# How much new noise a step adds; TCD without any would be DDIM, and 0.3 is what its authors advise.
ETA = {"TCDScheduler": 0.3}

# What frontends call them besides, as `normal` spells it; the classes of diffusers are known anyway.
ALIASES = {
    "eulerancestral": "euler_a",
    "keulera": "euler_a",
    "keulerancestral": "euler_a",
    "keuler": "euler",
    "eulertrailing": "lightning",
    "eulersgmuniform": "lightning",
    "sdxllightning": "lightning",
    "kheun": "heun",
    "kdpmpp2m": "dpmpp_2m",
    "dpmsolver": "dpmpp_2m",
    "dpmsolverpp": "dpmpp_2m",
    "karrasdpm": "dpmpp_2m_karras",
    "kdpmpp2mkarras": "dpmpp_2m_karras",
    "dpmsolvermultistepkarras": "dpmpp_2m_karras",
    "sdedpmpp2m": "dpmpp_2m_sde",
    "sdedpmpp2mkarras": "dpmpp_2m_sde_karras",
    "unipcbh2": "unipc",
}


def normal(name: str) -> str:
    """`name` without what frontends spell differently: `DPM++ 2M Karras` and `dpmpp_2m_karras` are dpmpp2mkarras."""
    return re.sub(r"[^a-z0-9]|scheduler", "", name.lower().replace("+", "p"))


def _known() -> dict[str, str]:
    """The name in SCHEDULERS, by every normal spelling of it."""
    known = {normal(name): name for name in SCHEDULERS} | ALIASES
    for name, (kind, _) in SCHEDULERS.items():
        known.setdefault(normal(kind), name)
    return known


KNOWN = _known()


def find_scheduler(name: str) -> str | None:
    """The name in SCHEDULERS of what a frontend calls `name`; None where there is none."""
    return KNOWN.get(normal(name))


def check_scheduler(name: str | None, steps: int) -> None:
    """Raise RejectedError for a scheduler that is not in the table, or one that cannot run so many steps."""
    if name is None:
        return
    found = find_scheduler(name)
    if found is None:
        raise RejectedError(f"scheduler must be one of {', '.join(SCHEDULERS)}.")
    most = MOST_STEPS.get(found, steps)
    if steps > most:
        raise RejectedError(f"steps must be at most {most} with the scheduler {found}.")


def make_scheduler(name: str | None, own: Any, steps: int) -> Any:
    """A scheduler without a past, set to `steps`: the named one, or a copy of `own`, the model's.

    Raises KeyError for a name that `check_scheduler` refuses, RejectedError for more steps than it can run."""
    import diffusers

    kind, changes = SCHEDULERS[KNOWN[normal(name)]] if name else (type(own).__name__, {})
    scheduler = getattr(diffusers, kind).from_config(own.config, **changes)
    found = KNOWN.get(normal(kind))
    # Other classes keep this of a model's configuration as well, and make nothing of it.
    most = scheduler.config.original_inference_steps if found in MOST_STEPS else steps
    if steps > most:
        raise RejectedError(f"steps must be at most {most} with the scheduler {found}.")
    scheduler.set_timesteps(steps)
    return scheduler


def scheduler_name(scheduler: Any) -> str:
    """The name that a request would ask for `scheduler` by, else its class."""
    kind = type(scheduler).__name__
    fitting = [
        (len(changes), name)
        for name, (candidate, changes) in SCHEDULERS.items()
        if candidate == kind and all(scheduler.config.get(key) == value for key, value in changes.items())
    ]
    return max(fitting)[1] if fitting else kind


def eta(scheduler: Any) -> float:
    """What a pipeline's call takes as `eta` for this scheduler."""
    return ETA.get(type(scheduler).__name__, 0.0)


def model_calls(scheduler: Any, steps: int, denoise: float = 1.0) -> int:
    """How often a scheduler that is set to `steps` calls the model when only the last part, `denoise` (0 to 1), is
    drawn: once a step, or twice in all steps but the last."""
    left_out = steps - min(int(steps * denoise), steps)
    return len(scheduler.timesteps) - left_out * int(scheduler.order)
