"""What the SDXL engine draws, with the real diffusers pipeline and tiny random weights."""

import logging
from uuid import uuid4

import numpy as np
import pytest

from consumer import job_types
from consumer.engines.schedulers import SCHEDULERS
from consumer.engines.sdxl import SdxlEngine
from consumer.errors import RejectedError
from consumer.job import Job, Medium
from consumer.request import parse
from tiny_sdxl import CPU, MARKS, ROUNDING, difference, draw, load_tiny, make_request, pipe_of, referring

pytestmark = MARKS


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


@pytest.mark.parametrize("negative", ["blurry", None])
def test_the_picture_is_what_the_plain_pipeline_draws(engine, negative):
    import torch

    output = draw(engine, [1], negative_prompt=negative or "")[1]
    plain = pipe_of(engine)(
        "a cat on a mat",
        negative_prompt=negative,
        width=64,
        height=64,
        num_inference_steps=3,
        guidance_scale=6.5,
        generator=torch.Generator().manual_seed(41),
    )
    assert np.abs(output.pixels.astype(int) - np.asarray(plain.images[0])).max() <= ROUNDING
    assert output.seed == 41


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_pixels_are_rounded_as_diffusers_rounds_them(dtype):
    import torch
    from diffusers.image_processor import VaeImageProcessor

    from consumer.engines.diffusion import to_pixels

    # Beyond -1..1 on both sides, and with every byte's exact middle among the values.
    halves = (torch.arange(-16, 528).float() / 2 / 255) * 2 - 1
    decoded = torch.cat([halves, torch.linspace(-1.1, 1.1, 3 * 40 * 64 - len(halves))]).reshape(1, 3, 40, 64)
    decoded = decoded.to(getattr(torch, dtype))
    processor = VaeImageProcessor()
    expected = np.asarray(processor.postprocess(decoded.clone(), "pil")[0])
    pixels = to_pixels(processor.postprocess(decoded, "pt"))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[0], expected)


def test_a_picture_is_the_same_alone_and_in_a_batch(engine):
    together = draw(engine, [0, 1, 2])
    assert [together[index].metadata["batch_size"] for index in range(3)] == [2, 2, 1]
    for index in range(3):
        alone = draw(engine, [index])[index]
        assert alone.metadata["batch_size"] == 1
        assert alone.seed == together[index].seed == 40 + index
        assert difference(alone, together[index]) <= ROUNDING


def test_a_retry_of_some_pictures_draws_the_same_ones(engine):
    everything = draw(engine, [0, 1, 2, 3])
    missing = draw(engine, [3, 1])
    assert difference(everything[1], missing[1]) <= ROUNDING
    assert difference(everything[3], missing[3]) <= ROUNDING


def test_each_index_has_a_picture_of_its_own(engine):
    pictures = draw(engine, [0, 1, 2])
    assert difference(pictures[0], pictures[1]) > 20
    assert difference(pictures[1], pictures[2]) > 20
    assert difference(draw(engine, [1], seed=39)[1], pictures[0]) <= ROUNDING


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "blurry"},
        {"steps": 4},
        {"guidance_scale": 3.0},
        {"guidance_scale": 1.0},
        {"guidance_scale": 0.0},
        {"scheduler": "dpmpp_2m_karras"},
    ],
    ids=str,
)
def test_every_parameter_changes_the_picture(engine, change):
    plain, changed = draw(engine)[0], draw(engine, **change)[0]
    assert difference(plain, changed) > 5
    for field in change.keys() & plain.metadata.keys():
        assert changed.metadata[field] == change[field] != plain.metadata[field]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (72, 64), (104, 136), (64, 2048)])
def test_a_picture_has_the_size_that_was_asked_for(engine, width, height):
    pixels = draw(engine, width=width, height=height, steps=1)[0].pixels
    assert (pixels.shape, pixels.dtype) == ((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("sent", "width", "height"),
    [
        ({}, 1024, 1024),
        ({"aspect_ratio": "16:9"}, 1024, 576),
        ({"aspect_ratio": "9:16"}, 576, 1024),
        ({"aspect_ratio": "2:3"}, 768, 1152),
        ({"width": 840, "height": 472}, 840, 472),
    ],
    ids=str,
)
def test_the_sizes_of_the_platform_are_drawn(engine, sent, width, height):
    metadata = {"prompt": "a cat", "seed": 1, "guidance_scale": 1, "steps": 1, **sent}
    job = Job(uuid4(), uuid4(), "sdxl_image_fast", "sdxl", 1, 1, 3, metadata)
    request = parse(job, job_types.load()["sdxl_image_fast"])
    engine.check(request)
    (output,) = engine.generate(request, [0], lambda *_: None)
    assert output.pixels.shape == (height, width, 3)


def test_pictures_leave_the_device_as_bytes(engine, monkeypatch):
    import torch

    copied, copy = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copied.append(tensor) or copy(tensor))
    draw(engine, [0, 1])
    assert {(tensor.dtype, tensor.shape) for tensor in copied if tensor.ndim == 4} == {(torch.uint8, (2, 64, 64, 3))}


def test_the_metadata_says_what_was_used(engine):
    assert draw(engine, steps=2)[0].metadata == {
        "model": "tiny",
        "steps": 2,
        "guidance_scale": 6.5,
        "scheduler": "euler",
        "batch_size": 1,
        "dtype": "float32",
    }


def test_the_models_own_scheduler_is_used_again_after_a_named_one(engine):
    before = draw(engine)[0]
    draw(engine, scheduler="lcm")
    assert difference(draw(engine)[0], before) <= ROUNDING


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_text_is_never_logged_however_long_it_is(engine, field, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("diffusers").addHandler(caplog.handler)
    try:
        draw(engine, **{field: "x" * 75 + "secret"})
        draw(engine, **referring(**{field: "x" * 75 + "secret"}))
    finally:
        logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": 1001}, "width must be a multiple of 8 pixels for the sdxl engine."),
        ({"height": 90}, "height must be a multiple of 8 pixels for the sdxl engine."),
        ({"medium": Medium.video}, "medium must be image: the sdxl engine makes no videos."),
        ({"prompt": "(a)1.1 (b)1.2 " * 17}, "prompt must have at most 32 weighted words."),
        ({"lora": (("my-style", 0.8),)}, "lora cannot be used: this worker has no folder of LoRAs."),
        ({"scheduler": "LCMScheduler", "steps": 51}, "steps must be at most 50 with the scheduler lcm."),
        (
            {"scheduler": "PLMS"},
            f"scheduler must be one of {', '.join(SCHEDULERS)}.",
        ),
    ],
    ids=lambda part: "-".join(part) if isinstance(part, dict) else "",
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence_before_anything_loads(change, sentence):
    engine = SdxlEngine("nobody/there-is-no-such-model", CPU)
    with pytest.raises(RejectedError) as caught:
        engine.check(make_request(**change))
    assert str(caught.value) == sentence
    with pytest.raises(RejectedError):
        draw(engine, **change)


def test_it_is_resident_once_it_is_loaded():
    engine = SdxlEngine("tiny", CPU)
    assert not engine.resident("")
    engine.load("tiny")
    assert engine.resident("")
