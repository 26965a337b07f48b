"""Pictures drawn over a reference, with the real diffusers pipelines and tiny random weights."""

import numpy as np
import pytest
from PIL import Image

from consumer.engines import diffusion
from consumer.engines.fitting import fit, size_like
from consumer.engines.image_to_image import DENOISE, prepare
from consumer.engines.sdxl import SdxlEngine
from consumer.errors import ConsumerError, RejectedError
from tiny_sdxl import CPU, MARKS, ROUNDING, difference, draw, load_tiny, make_request, photograph, pipe_of, referring

pytestmark = MARKS

TYPES = [None, "composition", "style", "character"]


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


def over(engine, picture: Image.Image, *, prompt="a cat on a mat", negative=None, seed=40, **arguments):
    """What the plain pipeline of diffusers draws over `picture`: (height, width, 3)."""
    import torch
    from diffusers import StableDiffusionXLImg2ImgPipeline

    pipe = StableDiffusionXLImg2ImgPipeline(**pipe_of(engine).components, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    usual = {"num_inference_steps": 6, "guidance_scale": 6.5, "generator": generator}
    drawn = pipe(prompt, negative_prompt=negative, image=picture, **(usual | arguments))
    return np.asarray(drawn.images[0])


def blurred(picture: Image.Image) -> Image.Image:
    """`picture`, whose shorter side is 64, as `style` uses it."""
    from PIL import ImageFilter

    return picture.filter(ImageFilter.GaussianBlur(4))


def count_calls(engine, monkeypatch) -> list[int]:
    """The batch of each call of the denoiser from now on."""
    forward, batches = pipe_of(engine).unet.forward, []

    def counting(sample, *args, **kwargs):
        batches.append(sample.shape[0])
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(pipe_of(engine).unet, "forward", counting)
    return batches


def test_a_modified_picture_is_what_the_plain_pipeline_draws_over_the_reference(engine):
    fields = referring(reference_strength=0.3, steps=6, negative_prompt="blurry")
    output = draw(engine, [1], **fields)[1]
    plain = over(engine, fit(photograph(64, 64), 64, 64), negative="blurry", strength=0.7, seed=41)
    assert output.seed == 41
    assert np.abs(output.pixels.astype(int) - plain).max() <= ROUNDING


@pytest.mark.parametrize("kind", TYPES)
def test_a_reference_type_has_its_own_picture_and_its_own_strength(engine, kind):
    output = draw(engine, **referring(reference_type=kind, steps=6))[0]
    picture = fit(photograph(64, 64), 64, 64)
    plain = over(engine, blurred(picture) if kind == "style" else picture, strength=DENOISE[kind])
    assert np.abs(output.pixels.astype(int) - plain).max() <= ROUNDING
    assert output.metadata["denoise_strength"] == DENOISE[kind]
    assert output.metadata.get("reference_type") == kind


def test_a_character_is_kept_closest_and_a_style_most_freely():
    assert DENOISE["character"] < DENOISE[None] < DENOISE["composition"] < DENOISE["style"] < 1


@pytest.mark.parametrize("kind", TYPES)
def test_the_strength_that_was_sent_goes_before_that_of_the_type(engine, kind):
    output = draw(engine, **referring(reference_type=kind, reference_strength=0.2, steps=6))[0]
    assert output.metadata["denoise_strength"] == 0.8


@pytest.mark.parametrize("side", [64, 512])
def test_style_keeps_colours_and_light_and_no_contours(side):
    down, across = np.mgrid[:side, :side] * 64 // side
    squares = (across // 4 + down // 4) % 2 * 100
    pixels = np.stack([squares + across * 2, squares, squares + 50], axis=2).astype(np.uint8)
    style = np.asarray(prepare(Image.fromarray(pixels), "style")).astype(float)
    assert np.allclose(style.mean(axis=(0, 1)), pixels.mean(axis=(0, 1)), atol=2)
    # At the rim the blur has only half a neighbourhood.
    inside = np.s_[side // 4 : -side // 4, side // 4 : -side // 4, 1]
    assert np.ptp(pixels[inside]) == 100
    assert np.ptp(style[inside]) < 10
    assert style[:, -1, 0].mean() - style[:, 0, 0].mean() > 80
    for kind in (None, "composition", "character"):
        assert np.array_equal(np.asarray(prepare(Image.fromarray(pixels), kind)), pixels)


@pytest.mark.parametrize("prompt", ["", "a cat on a mat"])
def test_a_copy_is_gone_over_at_low_noise_without_guidance(engine, monkeypatch, prompt):
    calls = count_calls(engine, monkeypatch)
    fields = referring(exact_copy_mode=True, prompt=prompt, steps=25, reference_strength=0.4, reference_type="style")
    output = draw(engine, **fields)[0]
    assert calls == [1]
    plain = over(
        engine, fit(photograph(64, 64), 64, 64), prompt=prompt, strength=0.05, num_inference_steps=25, guidance_scale=1
    )
    assert np.abs(output.pixels.astype(int) - plain).max() <= ROUNDING
    assert output.metadata == {
        "model": "tiny",
        "mode": "copy",
        "denoise_strength": 0.05,
        "reference_width": 64,
        "reference_height": 64,
        "steps": 1,
        "guidance_scale": 1.0,
        "scheduler": "euler",
        "batch_size": 1,
        "dtype": "float32",
    }


@pytest.mark.parametrize(
    ("steps", "change", "ran"),
    [
        (1, {"exact_copy_mode": True}, 1),
        (8, {"exact_copy_mode": True}, 1),
        (20, {"exact_copy_mode": True}, 1),
        (50, {"exact_copy_mode": True}, 2),
        (1, {}, 1),
        (10, {}, 5),
        (1, {"reference_strength": 0.9}, 1),
        (10, {"reference_strength": 0.9}, 1),
        (40, {"reference_strength": 0.9}, 4),
        # What denoise_strength sends: all of the picture, and nothing of it.
        (4, {"reference_strength": 0.0}, 4),
        (1, {"reference_strength": 1.0}, 1),
        (1, {"reference_strength": 0.999999, "scheduler": "lcm"}, 1),
        (3, {"reference_strength": 0.5, "scheduler": "heun"}, 1),
        (4, {"reference_strength": 0.5, "scheduler": "heun"}, 2),
    ],
    ids=str,
)
def test_at_least_one_step_really_runs_and_the_metadata_and_the_progress_say_how_many(
    engine, monkeypatch, steps, change, ran
):
    calls, seen = count_calls(engine, monkeypatch), []
    output = draw(
        engine, on_step=lambda _, done, total, *__: seen.append((done, total)), **referring(steps=steps, **change)
    )[0]
    # Heun calls the denoiser twice in all steps but the last.
    expected = 2 * ran - 1 if change.get("scheduler") == "heun" else ran
    assert len(calls) == expected
    assert output.metadata["steps"] == ran
    assert seen[1:] == [(done, expected) for done in [0, 0, *range(1, expected + 1), expected]]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "blurry"},
        {"seed": 41},
        {"steps": 8},
        {"guidance_scale": 3.0},
        {"reference_strength": 0.2},
        {"scheduler": "lightning"},
        {"compel_weights": (("cat", 1.8),)},
        {"references": referring(255 - photograph(64, 64))["references"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_parameter_changes_the_picture(engine, change):
    fields = referring(steps=6)
    assert difference(draw(engine, **fields)[0], draw(engine, **fields | change)[0]) > 2 * ROUNDING


@pytest.mark.parametrize("change", [{}, {"exact_copy_mode": True}], ids=["modify", "copy"])
@pytest.mark.parametrize(("across", "down"), [(90, 160), (300, 100), (100, 101)])
def test_without_a_size_the_picture_has_the_aspect_of_its_reference(engine, across, down, change):
    pixels = photograph(across, down)
    output = draw(engine, width=128, height=128, **referring(pixels, **change) | {"sized": False})[0]
    width, height = size_like(pixels, 128, 128, 8)
    assert output.pixels.shape == (height, width, 3)
    assert (output.metadata["reference_width"], output.metadata["reference_height"]) == (across, down)


@pytest.mark.parametrize("change", [{}, {"exact_copy_mode": True}], ids=["modify", "copy"])
def test_a_reference_is_cropped_to_the_size_that_was_sent(engine, change):
    wide = photograph(128, 64)
    output = draw(engine, **referring(wide, **change))[0]
    assert output.pixels.shape == (64, 64, 3)
    middle = draw(engine, **referring(wide[:, 32:96].copy(), **change))[0]
    assert difference(output, middle) <= ROUNDING


def test_a_picture_over_a_reference_is_the_same_alone_in_a_batch_and_in_another_attempt(engine):
    together = draw(engine, [0, 1, 2], **referring())
    assert [together[index].metadata["batch_size"] for index in range(3)] == [2, 2, 1]
    again = draw(engine, [2, 0], **referring())
    for index in range(3):
        alone = draw(engine, [index], **referring())[index]
        assert alone.seed == together[index].seed == 40 + index
        assert difference(alone, together[index]) <= ROUNDING
        assert index == 1 or difference(again[index], together[index]) <= ROUNDING


def test_one_set_of_weights_serves_texts_and_references_and_is_cast_by_neither(monkeypatch):
    import torch

    monkeypatch.setattr(diffusion, "choose_dtype", lambda device: torch.bfloat16)
    used = []
    variant = diffusion.variant
    monkeypatch.setattr(diffusion, "variant", lambda *a, **settings: used.append(variant(*a, **settings)) or used[-1])
    engine = SdxlEngine("tiny", CPU)
    engine.load("tiny")

    def weights() -> dict:
        parts = ("unet", "vae", "text_encoder", "text_encoder_2")
        return {
            f"{part}.{name}": (weight.dtype, weight.data_ptr())
            for part in parts
            for name, weight in getattr(pipe_of(engine), part).named_parameters()
        }

    before = weights()
    assert {dtype for dtype, _ in before.values()} == {torch.bfloat16}
    text = draw(engine)[0]
    draw(engine, **referring())
    draw(engine, **referring(exact_copy_mode=True))
    assert difference(draw(engine)[0], text) == 0
    assert weights() == before
    assert [type(pipe).__name__ for pipe in used] == ["StableDiffusionXLImg2ImgPipeline"] * 2
    for pipe in used:
        shared = {name for name, part in pipe.components.items() if part is pipe_of(engine).components[name]}
        assert shared == pipe.components.keys() - {"scheduler"}
        assert pipe.watermark is None
    assert engine._residency.loads == {"sdxl:tiny": 1}


@pytest.mark.parametrize("change", [{}, {"exact_copy_mode": True}, {"exact_copy_mode": True, "reference_url": None}])
def test_a_reference_that_was_not_fetched_is_never_left_out(change):
    engine, steps = SdxlEngine("nobody/there-is-no-such-model", CPU), []
    request = make_request(**referring(**change) | {"references": {}})
    engine.check(request)
    with pytest.raises(ConsumerError, match=r"^The reference was not fetched\.$") as caught:
        list(engine.generate(request, [0], lambda *step: steps.append(step)))
    assert not isinstance(caught.value, RejectedError)
    assert steps == []


def test_the_engine_says_that_it_uses_references():
    assert SdxlEngine.references == ("reference_url",)
