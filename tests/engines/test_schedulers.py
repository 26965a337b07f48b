"""Schedulers by the names that frontends send, each with the real one of diffusers."""

from itertools import combinations

import numpy as np
import pytest

from consumer.engines.schedulers import SCHEDULERS, check_scheduler, find_scheduler, make_scheduler, scheduler_name
from consumer.errors import RejectedError
from tiny_sdxl import MARKS, ROUNDING, difference, draw, load_tiny, pipe_of, referring

pytestmark = MARKS

SPELLINGS = {
    "euler": ["euler", "Euler", "EULER", "K_EULER", "EulerDiscreteScheduler", "EulerDiscrete"],
    "euler_karras": ["Euler Karras"],
    "euler_a": ["Euler a", "euler_a", "k_euler_a", "euler_ancestral", "K_EULER_ANCESTRAL", "Euler Ancestral"],
    "lightning": ["lightning", "euler_trailing", "Euler trailing", "SDXL-Lightning", "Euler SGM Uniform"],
    "heun": ["Heun", "HeunDiscreteScheduler", "HeunDiscrete"],
    "dpmpp_2m": [
        "DPM++ 2M",
        "dpm++_2m",
        "dpmpp_2m",
        "DPMSolverMultistepScheduler",
        "DPMSolverMultistep",
        "DPMSolver++",
    ],
    "dpmpp_2m_karras": ["DPM++ 2M Karras", "dpmpp-2m-karras", "KarrasDPM", "DPMSolverMultistepScheduler Karras"],
    "dpmpp_2m_sde": ["DPM++ 2M SDE"],
    "dpmpp_2m_sde_karras": ["DPM++ 2M SDE Karras", "dpmpp_2m_sde_karras"],
    "unipc": ["UniPC", "uni_pc", "uni_pc_bh2", "UniPCMultistepScheduler"],
    "ddim": ["DDIM", "DDIMScheduler"],
    "lcm": ["LCM", "LCMScheduler"],
    "tcd": ["TCD", "TCDScheduler"],
}


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


def test_every_scheduler_has_spellings_here():
    assert SPELLINGS.keys() == SCHEDULERS.keys()


@pytest.mark.parametrize(("name", "spelling"), [(name, each) for name in SPELLINGS for each in SPELLINGS[name]])
def test_a_scheduler_goes_by_the_names_that_frontends_send(name, spelling):
    assert find_scheduler(spelling) == name


@pytest.mark.parametrize("name", ["", "scheduler", "banana", "Euler b", "dpmpp", "DPM++ SDE Karras", "ö"])
def test_any_other_name_is_refused_with_those_that_there_are(name):
    with pytest.raises(RejectedError) as caught:
        check_scheduler(name, 10)
    assert str(caught.value) == f"scheduler must be one of {', '.join(SCHEDULERS)}."


@pytest.mark.parametrize("name", ["lcm", "TCDScheduler"])
def test_a_distilled_schedule_has_50_steps_at_most(name):
    check_scheduler(name, 50)
    with pytest.raises(RejectedError, match=r"^steps must be at most 50 with the scheduler (lcm|tcd)\.$"):
        check_scheduler(name, 51)


@pytest.mark.parametrize(("kind", "name"), [("LCMScheduler", "lcm"), ("TCDScheduler", "tcd")])
def test_so_has_the_own_schedule_of_a_distilled_model(engine, monkeypatch, kind, name):
    import diffusers

    pipe = pipe_of(engine)
    own = getattr(diffusers, kind).from_config(pipe.scheduler.config)
    monkeypatch.setattr(pipe, "scheduler", own)
    assert draw(engine, width=8, height=8, steps=50)[0].metadata["scheduler"] == name
    with pytest.raises(RejectedError, match=f"^steps must be at most 50 with the scheduler {name}.$"):
        draw(engine, width=8, height=8, steps=51)
    # Another one of the same model has no such limit, though its configuration still tells of it.
    assert len(make_scheduler("euler", own, 51).timesteps) == 51


@pytest.mark.parametrize("name", [None, "lcm"])
def test_a_model_that_was_distilled_from_fewer_steps_has_these_at_most(name):
    from diffusers import LCMScheduler

    own = LCMScheduler(original_inference_steps=20)
    assert len(make_scheduler(name, own, 20).timesteps) == 20
    with pytest.raises(RejectedError, match=r"^steps must be at most 20 with the scheduler lcm\.$"):
        make_scheduler(name, own, 21)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("euler", "EulerDiscreteScheduler"),
        ("euler_a", "EulerAncestralDiscreteScheduler"),
        ("lightning", "EulerDiscreteScheduler"),
        ("heun", "HeunDiscreteScheduler"),
        ("dpmpp_2m_karras", "DPMSolverMultistepScheduler"),
        ("unipc", "UniPCMultistepScheduler"),
        ("ddim", "DDIMScheduler"),
        ("lcm", "LCMScheduler"),
        ("tcd", "TCDScheduler"),
    ],
)
def test_a_name_stands_for_a_class_of_diffusers_with_the_noise_of_the_model(engine, name, kind):
    own = pipe_of(engine).scheduler
    made = make_scheduler(name, own, 4)
    assert type(made).__name__ == kind
    assert (made.config.beta_start, made.config.beta_schedule) == (own.config.beta_start, "scaled_linear")
    assert scheduler_name(made) == name


def test_trailing_steps_begin_at_the_very_last_and_leading_ones_do_not(engine):
    own = pipe_of(engine).scheduler
    assert make_scheduler("lightning", own, 4).timesteps.tolist() == [999, 749, 499, 249]
    assert make_scheduler("euler", own, 4).timesteps.tolist() == [751, 501, 251, 1]


@pytest.mark.parametrize("name", ["euler_karras", "dpmpp_2m_karras", "dpmpp_2m_sde_karras"])
def test_karras_sigmas_are_even_in_their_seventh_root(engine, name):
    sigmas = make_scheduler(name, pipe_of(engine).scheduler, 6).sigmas.numpy()[:-1] ** (1 / 7)
    assert np.allclose(np.diff(sigmas), np.diff(sigmas).mean(), rtol=1e-3)
    plain = make_scheduler(name.replace("_karras", ""), pipe_of(engine).scheduler, 6).sigmas.numpy()[:-1] ** (1 / 7)
    assert not np.allclose(np.diff(plain), np.diff(plain).mean(), rtol=1e-1)


def test_a_model_whose_own_schedule_is_a_special_one_takes_every_named_scheduler(engine):
    import diffusers

    own = diffusers.EulerDiscreteScheduler.from_config(pipe_of(engine).scheduler.config, use_exponential_sigmas=True)
    for name in SCHEDULERS:
        assert scheduler_name(make_scheduler(name, own, 4)) == name
    assert scheduler_name(make_scheduler(None, own, 4)) == "EulerDiscreteScheduler"


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_runs_the_steps_that_were_asked_for(engine, name, steps):
    seen = []
    output = draw(
        engine,
        width=8,
        height=8,
        scheduler=name,
        steps=steps,
        on_step=lambda _, done, total, *__: seen.append((done, total)),
    )[0]
    assert (output.metadata["scheduler"], output.metadata["steps"]) == (name, steps)
    # A step beyond the end of a schedule would make pixels that are no numbers, which show as black.
    assert output.pixels.std() > 1
    # Heun looks twice at each step but the last.
    calls = 2 * steps - 1 if name == "heun" else steps
    assert seen == [(0, steps), *((done, calls) for done in [0, 0, *range(1, calls + 1), calls])]


@pytest.mark.parametrize("name", ["lcm", "tcd"])
def test_a_distilled_schedule_can_run_all_of_its_steps(engine, name):
    assert draw(engine, width=8, height=8, scheduler=name, steps=50)[0].metadata["steps"] == 50


@pytest.mark.parametrize(
    "change",
    [{"steps": 3}, referring(steps=4), referring(steps=20, exact_copy_mode=True)],
    ids=["text", "modify", "copy"],
)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_draws_a_picture_the_same_alone_and_in_a_batch(engine, name, change):
    together = draw(engine, [0, 1], scheduler=name, **change)
    assert together[1].metadata["batch_size"] == 2
    alone = draw(engine, [1], scheduler=name, **change)[1]
    assert difference(alone, together[1]) <= ROUNDING
    assert difference(together[0], together[1]) > (2 if "exact_copy_mode" in change else 20)
    assert alone.pixels.std() > 1


def test_every_scheduler_draws_another_picture(engine):
    pictures = {name: draw(engine, scheduler=name, steps=4)[0] for name in SCHEDULERS}
    alike = {pair for pair in combinations(SCHEDULERS, 2) if difference(*(pictures[name] for name in pair)) <= ROUNDING}
    # DDIM is Euler's method in other words.
    assert alike <= {("euler", "ddim")}
