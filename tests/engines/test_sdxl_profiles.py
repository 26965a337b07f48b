"""A job for a few-step model runs the steps, the guidance, the scheduler and the spacing of the model's profile."""

from uuid import UUID

import numpy as np
import pytest

from consumer import job_types
from consumer.job import Job
from consumer.request import parse
from few_steps import KARRAS, LCM, LIGHTNING, MODELS
from tiny_sdxl import MARKS, load_tiny, pipe_of

pytestmark = MARKS


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


def karras(steps):
    """The timesteps whose noise is nearest to the levels that Karras and others advise, of which rho is 7."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    noise = np.sqrt((1 - kept) / kept)
    levels = np.linspace(noise[-1] ** (1 / 7), noise[0] ** (1 / 7), steps) ** 7
    return np.interp(np.log(levels), np.log(noise), np.arange(1000)).round().astype(int).tolist()


# Of the 1000 steps that SDXL was trained with: Lightning's end with each part, LCM's are of 50 at equal distances.
TIMESTEPS = {
    (LIGHTNING, 2): [999, 499],
    (LIGHTNING, 4): [999, 749, 499, 249],
    (LIGHTNING, 8): [999, 874, 749, 624, 499, 374, 249, 124],
    (LCM, 4): [999, 759, 499, 259],
    # The model's own, which for the tiny one starts with the first of each part, and one later.
    (None, 4): [751, 501, 251, 1],
    (KARRAS, 6): karras(6),
    (LCM, 6): [999, 839, 679, 499, 339, 179],
}


@pytest.mark.parametrize(("model", "steps", "guidance", "scheduler"), MODELS)
def test_a_job_runs_what_the_profile_of_its_model_says(engine, model, steps, guidance, scheduler):
    job_type = job_types.load(models={"sdxl": model})["sdxl_image_high"]
    job = Job(UUID(int=1), UUID(int=2), job_type.name, "sdxl", 1, 1, 3, {"seed": 7, "prompt": "a cat"})
    request = parse(job, job_type).model_copy(update={"width": 64, "height": 64})
    calls = []

    def record(unet, args):
        calls.append((int(args[1]), len(args[0])))

    hook = pipe_of(engine).unet.register_forward_pre_hook(record)
    try:
        [output] = engine.generate(request, [0], lambda *_: None)
    finally:
        hook.remove()
    used = output.metadata
    assert (used["steps"], used["guidance_scale"], used["scheduler"]) == (steps, guidance, scheduler or "euler")
    # Guidance takes each picture twice.
    assert calls == [(timestep, 2 if guidance > 1 else 1) for timestep in TIMESTEPS[scheduler, steps]]
