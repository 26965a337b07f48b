"""The schedulers of WAN, and how far they shift their steps towards the noise, which depends on the size."""
# ruff: noqa: PLC0415

from collections.abc import Mapping
from typing import Any

from consumer.engines.schedulers import normal
from consumer.errors import RejectedError

FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
DPMPP = FLOW | {"algorithm_type": "dpmsolver++"}

# A name, its class in diffusers, what that calls the shift, and what else differs from the model's configuration.
# None of them adds noise on the way: WAN's pipelines give them no generator, so that no seed would bring it back.
SCHEDULERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "unipc": ("UniPCMultistepScheduler", "flow_shift", FLOW),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", "flow_shift", DPMPP | {"solver_order": 2}),
    # Of a flow, the first order is Euler's method.
    "euler": ("DPMSolverMultistepScheduler", "flow_shift", DPMPP | {"solver_order": 1}),
    # Euler's method too, for models that come with it; the last of its steps hardly moves.
    "flow_match_euler": (
        "FlowMatchEulerDiscreteScheduler",
        "shift",
        {"stochastic_sampling": False, "use_dynamic_shifting": False},
    ),
}
CLASSES = {kind: name for name, (kind, *_) in SCHEDULERS.items() if name != "euler"}
KNOWN = {normal(kind): name for kind, name in CLASSES.items()} | {normal(name): name for name in SCHEDULERS}

SMALL, LARGE = 832 * 480, 1280 * 720
SMALL_SHIFT, LARGE_SHIFT = 3.0, 5.0


def check_scheduler(name: str | None) -> None:
    """Raise RejectedError for a scheduler that is not in the table."""
    if name is not None and normal(name) not in KNOWN:
        raise RejectedError(f"scheduler must be one of {', '.join(SCHEDULERS)} for the wan engine.")


def make_scheduler(name: str | None, own: Any, steps: int, width: int, height: int) -> tuple[Any, dict[str, Any]]:
    """A scheduler without a past, set to `steps`, and what metadata says of it: the named one, or that of `own`, the
    model's. The size is in pixels. Raises KeyError for a name that `check_scheduler` refuses."""
    import diffusers

    chosen = KNOWN[normal(name)] if name else CLASSES.get(type(own).__name__, "unipc")
    kind, shift, changes = SCHEDULERS[chosen]
    changes = {**changes, shift: flow_shift(own, width, height)}
    scheduler = getattr(diffusers, kind).from_config(own.config, **changes)
    scheduler.set_timesteps(steps)
    return scheduler, {"scheduler": chosen, "flow_shift": scheduler.config[shift]}


def flow_shift(own: Any, width: int, height: int) -> float:
    """The larger, the more steps go to the outlines of a video: 3 where its size, in pixels, is nearer to 480p, 5
    where it is nearer to 720p. A model that was trained for yet another shift keeps its own."""
    trained = own.config.get("flow_shift", own.config.get("shift"))
    if trained not in (None, 1.0, SMALL_SHIFT, LARGE_SHIFT):
        return float(trained)
    return SMALL_SHIFT if width * height <= (SMALL + LARGE) / 2 else LARGE_SHIFT
