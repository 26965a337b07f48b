"""Few-step models get what they were trained for: which models those are, and mistakes in the file."""

import pytest

from consumer import profiles
from consumer.engines.schedulers import SCHEDULERS
from consumer.errors import UsageError
from few_steps import MODELS, WAN


@pytest.mark.parametrize(("model", "steps", "guidance", "scheduler"), MODELS)
def test_a_few_step_model_is_known_by_its_name(model, steps, guidance, scheduler):
    found = profiles.profile("sdxl", model)
    assert (found["steps"], found["guidance_scale"], found.get("scheduler")) == (steps, guidance, scheduler)


@pytest.mark.parametrize("model", WAN)
def test_a_few_step_video_model_is_known_by_its_name(model):
    assert profiles.profile("wan", model) == {"steps": 4, "guidance_scale": 1}


@pytest.mark.parametrize(
    ("engine", "model"),
    [
        ("sdxl", ""),
        ("sdxl", "tiny"),
        ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0"),
        ("sdxl", "/models/lightning/lcm/base.safetensors"),
        ("sdxl", "HyperRealismXL.safetensors"),
        ("sdxl", "lcm/base.safetensors"),
        ("sdxl", "lightning-ai/sdxl-foo"),
        ("sdxl", "sdxl_lightning_1step_x0.safetensors"),
        ("sdxl", "sdxl_lightning_1step_unet_x0"),
        ("wan", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
        ("sketch", "ByteDance/SDXL-Lightning"),
    ],
)
def test_a_model_like_any_other_has_no_profile(engine, model):
    assert profiles.profile(engine, model) == {}


@pytest.mark.parametrize("model", ["stabilityai/sdxl-turbo", "sd_xl_turbo_1.0_fp16.safetensors"])
def test_a_small_turbo_model_draws_small_pictures(model):
    found = profiles.profile("sdxl", model)
    assert (found["width"], found["height"]) == (512, 512)


def test_every_profile_is_without_mistakes_names_a_known_scheduler_and_is_tried_here():
    tried = {("sdxl", model) for model, *_ in MODELS} | {("wan", model) for model in WAN}
    matched = [profiles.profile(engine, model) for engine, model in tried]
    for each in profiles.load():
        assert each.defaults.get("scheduler") in {None, *SCHEDULERS}
        assert any({**each.defaults, "steps": 0} == {**found, "steps": 0} for found in matched)


FILE = "[x]\nengine = 'sdxl'\nmatch = 'x'\ndefaults = { steps = 4 }\n"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (FILE.replace("'x'", "'('"), "x: match must be a regular expression."),
        (FILE.replace("'x'", "3"), "x: match must be a regular expression."),
        ("[x]\nengine = 'sdxl'\nmatch = 'x'\n", "x: defaults is missing; it must be a table of request fields."),
        (FILE.replace("sdxl", "S D"), "x: engine must be up to 64 of a-z, 0-9 and _."),
        (FILE + "model = 'y'\n", "x: model is not a key of a profile; these are engine, match, defaults."),
        (FILE.replace("4", "0"), "x: defaults.steps must be a whole number from 1 to 100."),
        (FILE.replace("steps", "sample_steps"), "x: defaults.sample_steps is called steps here."),
        (FILE.replace("steps", "seed"), "x: defaults.seed cannot have a default."),
        ("x = 3\n", "x: must be a table."),
    ],
)
def test_a_mistake_in_the_file_names_the_table_the_key_and_the_limit(tmp_path, text, mistake):
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        profiles.load(path)
    assert str(caught.value) == f"{path}: {mistake}"
