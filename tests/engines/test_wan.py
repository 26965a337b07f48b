"""What the WAN engine draws, with the real diffusers pipelines and tiny random weights."""

import logging

import numpy as np
import pytest
from PIL import Image

from consumer.encode import encode
from consumer.engines import diffusion, wan_schedulers
from consumer.request import Reference
from tiny_sdxl import MARKS
from tiny_wans import (
    ENDS,
    ROUNDING,
    STARTS,
    difference,
    draw,
    draw_pictures,
    load_tiny,
    photo,
    pipe_of,
    plain,
)

pytestmark = MARKS


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


@pytest.fixture(scope="module")
def i2v():
    return load_tiny("tiny-i2v")


@pytest.fixture(scope="module")
def experts():
    return load_tiny("tiny-2.2")


def cut(seed: int = 0) -> Image.Image:
    """The 64 x 32 pixels in the middle of a photo of 64 x 64: a crop, without any resizing."""
    return Image.fromarray(photo(seed=seed)[16:48])


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("tiny", {}),
        ("tiny-i2v", STARTS),
        ("tiny-flf2v", STARTS | ENDS),
        ("tiny-2.2", {}),
        ("tiny-2.2-i2v", STARTS),
        ("tiny-2.2-i2v", STARTS | ENDS),
        ("tiny-5b", {}),
        ("tiny-5b", STARTS),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) or "text",
)
def test_a_video_is_what_the_plain_pipeline_makes_of_the_same_words_and_frames(model, asked):
    frames = {name: cut(seed) for seed, (name, field) in enumerate({"image": STARTS, "last_image": ENDS}.items())
              if field.items() <= asked.items()}  # fmt: skip
    output = draw(load_tiny(model), [1], **asked)[1]
    assert difference(output, plain(model, seed=41, **frames)) <= ROUNDING
    assert (output.pixels.shape, output.pixels.dtype) == ((5, 32, 64, 3), np.uint8)
    assert (output.seed, output.fps, output.metadata["model"]) == (41, 8.0, model)


def test_a_video_heeds_a_negative_prompt_as_the_plain_pipeline_does(engine):
    assert difference(draw(engine, negative_prompt="blurry")[0], plain("tiny", negative_prompt="blurry")) <= ROUNDING
    without_guidance = draw(engine, negative_prompt="blurry", guidance_scale=1.0)[0]
    assert difference(without_guidance, plain("tiny", guidance_scale=1.0)) <= ROUNDING


def test_a_picture_is_a_video_of_one_frame_that_becomes_a_png(engine):
    output = draw_pictures(engine)[0]
    assert (output.pixels.shape, output.fps) == ((32, 64, 3), None)
    assert difference(output, plain("tiny", num_frames=1)[0]) <= ROUNDING
    made = encode(output.pixels, output.fps)
    assert (made.extension, made.frames, made.width, made.height) == ("png", 1, 64, 32)


def test_a_picture_is_the_same_alone_in_a_batch_and_in_another_attempt(engine):
    together = draw_pictures(engine, [0, 1, 2])
    assert [together[index].metadata["batch_size"] for index in range(3)] == [2, 2, 1]
    for index in range(3):
        alone = draw_pictures(engine, [index])[index]
        assert alone.metadata["batch_size"] == 1
        assert alone.seed == together[index].seed == 40 + index
        assert difference(alone, together[index]) <= ROUNDING
    assert difference(draw_pictures(engine, [2, 0])[0], together[0]) <= ROUNDING
    assert difference(together[0], together[1]) > 20


@pytest.mark.parametrize(("model", "asked"), [("tiny", {}), ("tiny-i2v", STARTS)])
def test_videos_are_made_one_at_a_time_and_each_from_its_own_seed(model, asked):
    engine = load_tiny(model)
    videos = draw(engine, [0, 1], **asked)
    assert [video.metadata["batch_size"] for video in videos.values()] == [1, 1]
    assert difference(videos[0], videos[1]) > 20
    assert difference(draw(engine, [0], seed=41, **asked)[0], videos[1]) <= ROUNDING


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "blurry"},
        {"steps": 4},
        {"guidance_scale": 3.0},
        {"guidance_scale": 1.0},
        {"scheduler": "euler"},
    ],
    ids=str,
)
def test_every_parameter_changes_the_video(engine, change):
    before, after = draw(engine)[0], draw(engine, **change)[0]
    assert difference(before, after) > 5
    for field in change.keys() & before.metadata.keys():
        assert after.metadata[field] == change[field] != before.metadata[field]


@pytest.mark.parametrize("field", ["start_reference_url", "end_reference_url"])
@pytest.mark.parametrize("model", ["tiny-flf2v", "tiny-2.2-i2v"])
def test_each_given_frame_changes_the_video(model, field):
    engine = load_tiny(model)
    before = draw(engine, **STARTS, **ENDS)[0]
    references = {"start_reference_url": Reference(b"", photo()), "end_reference_url": Reference(b"", photo(seed=1))}
    references[field] = Reference(b"", photo(seed=2))
    assert difference(draw(engine, **STARTS, **ENDS, references=references)[0], before) > 5


def test_the_metadata_says_what_was_used(engine, experts):
    used = {
        "model": "tiny",
        "steps": 3,
        "guidance_scale": 6.5,
        "scheduler": "unipc",
        "flow_shift": 3.0,
        "batch_size": 1,
        "dtype": "float32",
    }
    assert draw(engine)[0].metadata == used
    two = {"model": "tiny-2.2", "boundary_ratio": 0.875, "guidance_scale_2": 6.5}
    assert draw(experts)[0].metadata == used | two


def test_the_first_expert_works_above_the_boundary_and_the_second_below(experts, monkeypatch):
    pipe, seen = pipe_of(experts), {}
    for name in ("transformer", "transformer_2"):
        part = getattr(pipe, name)

        def forward(*args, timestep, _name=name, _forward=part.forward, **more):
            seen.setdefault(_name, set()).add(float(timestep[0]))
            return _forward(*args, timestep=timestep, **more)

        monkeypatch.setattr(part, "forward", forward)
    draw(experts, steps=6)
    assert min(seen["transformer"]) >= 875 > max(seen["transformer_2"])
    assert len(seen["transformer"]) + len(seen["transformer_2"]) == 6


@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize("name", ["unipc", "dpmpp_2m", "euler", "flow_match_euler"])
def test_every_scheduler_runs_the_steps_that_were_asked_for_and_heeds_the_seed(engine, name, steps):
    seen = []
    asked = {"width": 16, "height": 16, "num_frames": 1, "scheduler": name, "steps": steps}
    output = draw(engine, on_step=lambda _, done, total, *__: seen.append((done, total)), **asked)[0]
    assert (output.metadata["scheduler"], output.metadata["steps"]) == (name, steps)
    assert [done for done, _ in seen] == [0, 0, 0, *range(1, steps + 1), steps, steps]
    assert {total for _, total in seen} == {steps}
    assert difference(draw(engine, **asked)[0], output) <= ROUNDING


def test_a_scheduler_may_be_spelled_as_frontends_do(engine):
    assert draw(engine, scheduler="DPM++ 2M")[0].metadata["scheduler"] == "dpmpp_2m"
    assert draw(engine, scheduler="Flow Match Euler")[0].metadata["scheduler"] == "flow_match_euler"


def unipc(**config):
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, **config)


@pytest.mark.parametrize(
    ("width", "height", "shift"),
    [
        *((480, 832, 3.0), (832, 480, 3.0), (640, 640, 3.0), (64, 64, 3.0)),
        *((1280, 720, 5.0), (720, 1280, 5.0), (1280, 704, 5.0), (960, 960, 5.0), (1920, 1088, 5.0)),
    ],
)
def test_the_flow_shift_follows_the_size(width, height, shift):
    for own in (unipc(flow_shift=3.0), unipc(flow_shift=5.0), unipc()):
        for name in (None, "unipc", "dpmpp_2m", "euler"):
            scheduler, told = wan_schedulers.make_scheduler(name, own, 4, width, height)
            assert told["flow_shift"] == shift
            # A step at `even` between noise and picture goes to where the shift of a rectified flow puts it.
            even = 1 - (1 - 1 / 1000) / 4
            assert float(scheduler.sigmas[1]) == pytest.approx(shift * even / (1 + (shift - 1) * even), abs=1e-3)


def test_a_model_that_was_trained_for_another_shift_keeps_it():
    from diffusers import FlowMatchEulerDiscreteScheduler

    for own in (unipc(flow_shift=8.0), FlowMatchEulerDiscreteScheduler(shift=8.0)):
        for name in (None, "euler", "unipc", "flow_match_euler"):
            assert wan_schedulers.make_scheduler(name, own, 4, 832, 480)[1]["flow_shift"] == 8.0


def test_a_models_own_scheduler_is_kept_unless_it_would_draw_noise_that_has_no_seed():
    from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler

    euler = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    scheduler, told = wan_schedulers.make_scheduler(None, euler, 4, 64, 64)
    assert (type(scheduler), scheduler.config.stochastic_sampling) == (type(euler), False)
    assert told["scheduler"] == "flow_match_euler"
    assert wan_schedulers.make_scheduler(None, FlowMatchLCMScheduler(), 4, 64, 64)[1]["scheduler"] == "unipc"


def test_euler_goes_straight_along_the_flow():
    import torch

    scheduler, _ = wan_schedulers.make_scheduler("euler", unipc(), 4, 64, 64)
    sample, flows = torch.ones(1, 2), torch.tensor([[0.5, -1.0], [2.0, 0.25], [-3.0, 1.0], [1.0, 1.0]])
    expected = sample + ((scheduler.sigmas[1:] - scheduler.sigmas[:-1])[:, None] * flows).sum(0)
    for timestep, flow in zip(scheduler.timesteps, flows, strict=True):
        sample = scheduler.step(flow[None], timestep, sample, return_dict=False)[0]
    assert torch.allclose(sample, expected, atol=1e-5)
    assert scheduler.sigmas[-1] == 0


def test_the_shift_of_a_large_size_reaches_the_video(engine, monkeypatch):
    monkeypatch.setattr(wan_schedulers, "SMALL", 16 * 16)
    monkeypatch.setattr(wan_schedulers, "LARGE", 64 * 32)
    video = draw(engine)[0]
    assert video.metadata["flow_shift"] == 5.0
    assert difference(video, plain("tiny", flow_shift=5.0)) <= ROUNDING
    assert difference(video, plain("tiny", flow_shift=3.0)) > 5


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_text_that_is_too_long_is_said_to_be_cut_and_never_logged(engine, field, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("diffusers").addHandler(caplog.handler)
    try:
        # A token for each letter, one for the word, and one for the end.
        short = draw_pictures(engine, **{field: "x" * 510})[0]
        long = draw_pictures(engine, **{field: "x" * 510 + "secret"})[0]
    finally:
        logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert f"{field}_truncated" not in short.metadata
    assert long.metadata[f"{field}_truncated"] is True
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_the_prompts_are_encoded_once_for_a_job(engine, monkeypatch):
    encode_prompt, calls = pipe_of(engine).encode_prompt, []

    def count(prompt, *args, **more):
        calls.append(prompt)
        return encode_prompt(prompt, *args, **more)

    monkeypatch.setattr(pipe_of(engine), "encode_prompt", count)
    draw(engine, [0, 1])
    assert [prompt for prompt in calls if prompt is not None] == ["a cat on a mat"]


def test_the_vae_is_in_float32_whatever_the_rest_is_in(monkeypatch):
    import torch

    monkeypatch.setattr(diffusion, "choose_dtype", lambda device: torch.bfloat16)
    engine = load_tiny()
    pipe = pipe_of(engine)
    dtypes = {name: next(getattr(pipe, name).parameters()).dtype for name in ("vae", "text_encoder", "transformer")}
    assert dtypes == {"vae": torch.float32, "text_encoder": torch.bfloat16, "transformer": torch.bfloat16}
    video = draw(engine)[0]
    assert video.metadata["dtype"] == "bfloat16"
    # Half as exact in the steps, and the same video to the eye.
    assert np.abs(video.pixels.astype(int) - plain("tiny").astype(int)).mean() < 3
    assert pipe.vae.dtype == torch.float32


def test_what_leaves_the_device_are_bytes(i2v, monkeypatch):
    import torch

    cpu, left = torch.Tensor.cpu, []

    def record(tensor, *args, **more):
        left.append((tensor.dtype, tensor.ndim))
        return cpu(tensor, *args, **more)

    monkeypatch.setattr(torch.Tensor, "cpu", record)
    draw(i2v, **STARTS)
    assert {dtype for dtype, dimensions in left if dimensions > 1} == {torch.uint8}


@pytest.mark.gpu
def test_a_video_on_the_gpu_is_that_of_the_cpu_and_leaves_nothing_behind():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    engine = load_tiny(device="cuda")
    first = draw(engine)[0]
    assert np.abs(first.pixels.astype(int) - plain("tiny").astype(int)).mean() < 3
    before = torch.cuda.memory_allocated()
    draw(engine, num_frames=9)
    assert torch.cuda.memory_allocated() <= before
