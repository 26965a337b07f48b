"""A jobs row becomes a Request, or is rejected with one sentence."""

import math
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer import job_types
from consumer.errors import ConsumerError, RejectedError
from consumer.fields import ALIASES, Fields
from consumer.job import Job, JobType, Medium
from consumer.request import Request, parse

KNOWN = job_types.load()
SDXL, WAN, VIDEO, SKETCH = (KNOWN[name] for name in ("sdxl_image_fast", "image_fast", "video_fast", "sketch"))
ENHANCED = KNOWN["image7b_fast_enhanced"]
URL = "https://example.com/a.png"


def job(metadata: Any, original: str | None = "a harbour", enhanced: str | None = None) -> Job:
    return Job(
        id=UUID(int=1),
        user_id=UUID(int=2),
        job_type="sdxl_image_fast",
        engine="sdxl",
        claim_id=1,
        attempts=1,
        max_attempts=3,
        metadata=metadata,
        original_prompt=original,
        enhanced_prompt=enhanced,
    )


def ask(job_type: JobType = SDXL, **sent: Any) -> Request:
    return parse(job({"seed": 7, **sent}), job_type)


def refusal(job_type: JobType = SDXL, **sent: Any) -> str:
    with pytest.raises(RejectedError) as caught:
        ask(job_type, **sent)
    return str(caught.value)


def test_a_silent_request_gets_the_defaults_of_its_job_type():
    request = ask()
    assert request == Request(
        job_type="sdxl_image_fast",
        medium=Medium.image,
        prompt="a harbour",
        count=3,
        seed=7,
        steps=25,
        guidance_scale=6.5,
        width=1024,
        height=1024,
    )


def test_a_job_type_that_says_nothing_is_enough():
    request = ask(JobType("plain", "mine", Medium.video))
    assert (request.count, request.width, request.height, request.num_frames, request.fps) == (
        1,
        1024,
        1024,
        81,
        16,
    )


@pytest.mark.parametrize(
    ("enhanced", "original", "sent", "prompt"),
    [
        ("better", "plain", "sent", "better"),
        (None, "plain", "sent", "plain"),
        (None, None, "sent", "sent"),
        ("", "  ", "sent", "sent"),
        (None, None, "  sent\n", "sent"),
    ],
)
def test_the_prompt_is_the_enhanced_one_else_the_original_else_the_sent_one(enhanced, original, sent, prompt):
    assert parse(job({"seed": 7, "prompt": sent}, original, enhanced), SDXL).prompt == prompt


@pytest.mark.parametrize("sent", [{}, {"prompt": None}, {"prompt": ""}, {"prompt": " \0 "}, {"style": "ink"}])
def test_an_empty_prompt_is_rejected(sent):
    with pytest.raises(RejectedError, match=r"^prompt must not be empty\.$"):
        parse(job({"seed": 7, **sent}, original=None), SDXL)


def test_an_empty_prompt_is_legal_for_an_exact_copy():
    request = parse(job({"seed": 7, "exact_copy_mode": True, "reference_url": URL}, original=None), SDXL)
    assert (request.prompt, request.exact_copy_mode) == ("", True)


def test_an_exact_copy_of_nothing_is_rejected():
    assert refusal(exact_copy_mode=True) == "exact_copy_mode needs a reference_image_url."


def test_style_shot_and_angle_follow_the_prompt():
    request = ask(camera_angle="low angle", style="ink drawing", shot_type="wide")
    assert request.prompt == "a harbour, ink drawing, wide, low angle"
    assert ask(camera_angle="none", style="").prompt == "a harbour"


@pytest.mark.parametrize("seed", [0, 1, 2147483647])
def test_every_seed_is_a_seed_and_zero_too(seed):
    assert ask(seed=seed).seed == seed


@pytest.mark.parametrize("sent", [None, {}, {"seed": None}])
def test_a_missing_seed_is_our_mistake_and_not_the_users(sent):
    with pytest.raises(ConsumerError, match="seed is missing") as caught:
        parse(job(sent), SDXL)
    assert not isinstance(caught.value, RejectedError)


@pytest.mark.parametrize("metadata", [[], [1], "text", 3, True, 0, ""])
def test_metadata_that_is_not_an_object_is_rejected(metadata):
    with pytest.raises(RejectedError, match=r"^metadata must be an object, without extreme numbers or nesting\.$"):
        parse(job(metadata), SDXL)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("num_images", "count", 5),
        ("negative_prompt", "negative_prompt", "fog"),
        ("steps", "steps", 30),
        ("num_inference_steps", "steps", 30),
        ("sample_steps", "steps", 30),
        ("guidance_scale", "guidance_scale", 0.0),
        ("sample_guide_scale", "guidance_scale", 5.5),
        ("quality", "quality", "high"),
        ("scheduler", "scheduler", "euler"),
        ("reference_url", "reference_url", URL),
        ("reference_image_url", "reference_url", URL),
        ("reference_strength", "reference_strength", 0.9),
        ("reference_type", "reference_type", "character"),
        ("start_reference_url", "start_reference_url", URL),
        ("first_frame", "start_reference_url", URL),
        ("end_reference_url", "end_reference_url", URL),
        ("last_frame", "end_reference_url", URL),
        ("fps", "fps", 24.0),
        ("motion_intensity", "motion_intensity", 0.5),
        ("enhancement_model", "enhancement_model", "qwen_base"),
    ],
)
def test_every_parameter_arrives(name, field, value):
    assert getattr(ask(**{name: value}), field) == value


@pytest.mark.parametrize("value", [3, "3", 3.0, "3.0", " 3 "])
def test_a_whole_number_may_be_written_in_several_ways(value):
    request = ask(num_images=value, steps=value)
    assert (request.count, request.steps) == (3, 3)
    assert type(request.count) is type(request.steps) is int


BAD_NUMBERS = [3.7, "3.7", "NaN", math.nan, math.inf, "x", "", [3], {"n": 3}, True, False, 10**9, 10**400, -1]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("num_images", "num_images must be a whole number from 1 to 6."),
        ("num_inference_steps", "num_inference_steps must be a whole number from 1 to 100."),
        ("width", "width must be a whole number from 64 to 2048, divisible by 8."),
        ("num_frames", "num_frames must be a whole number from 1 to 241."),
    ],
)
def test_a_number_that_is_not_whole_or_not_in_range_is_rejected(name, sentence, value):
    assert refusal(**{name: value}) == sentence


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"num_images": 0}, "num_images must be a whole number from 1 to 6."),
        ({"num_images": 7}, "num_images must be a whole number from 1 to 6."),
        ({"seed": -1}, "seed must be a whole number from 0 to 2147483647."),
        ({"seed": 2147483648}, "seed must be a whole number from 0 to 2147483647."),
        ({"steps": 101}, "steps must be a whole number from 1 to 100."),
        ({"sample_guide_scale": 20.5}, "sample_guide_scale must be a number from 0 to 20."),
        ({"guidance_scale": "NaN"}, "guidance_scale must be a number from 0 to 20."),
        ({"guidance_scale": 10**400}, "guidance_scale must be a number from 0 to 20."),
        ({"width": 100, "height": 64}, "width must be a whole number from 64 to 2048, divisible by 8."),
        ({"aspect_ratio": "5:1"}, "aspect_ratio must be one of 1:1, 16:9, 9:16, 4:3, 3:4, 3:2, 2:3."),
        ({"reference_strength": 0.95}, "reference_strength must be a number from 0.1 to 0.9."),
        ({"denoise_strength": 1.1}, "denoise_strength must be a number from 0 to 1."),
        ({"reference_type": "mood"}, "reference_type must be one of style, composition, character."),
        ({"exact_copy_mode": "perhaps"}, "exact_copy_mode must be true or false."),
        ({"enhancement_model": "gpt"}, "enhancement_model must be one of qwen_instruct, qwen_base, none."),
        ({"negative_prompt": "x" * 4001}, "negative_prompt must be a text of at most 4000 characters."),
        ({"prompt": ["a", "list"]}, "prompt must be a text of at most 4000 characters."),
        ({"style": "x" * 101}, "style must be a text of at most 100 characters."),
        ({"first_frame": "x" * 2001}, "first_frame must be a text of at most 2000 characters."),
        ({"duration": 61}, "duration must be a number from 0.1 to 60."),
        ({"motion_intensity": 2}, "motion_intensity must be a number from 0 to 1."),
    ],
)
def test_what_is_out_of_range_is_rejected_with_the_field_and_the_limit(sent, sentence):
    assert refusal(**sent) == sentence


@pytest.mark.parametrize("value", [2, 6, "9"])
def test_a_job_type_of_one_picture_says_so(value):
    assert refusal(WAN, num_images=value) == "num_images must be 1."


@pytest.mark.parametrize("column", ["original", "enhanced"])
def test_a_prompt_column_has_the_limit_of_a_prompt(column):
    with pytest.raises(RejectedError, match=rf"^{column}_prompt must be a text of at most 4000 characters\.$"):
        parse(job({"seed": 7}, **{column: "x" * 4001}), SDXL)


def test_null_is_absent_in_every_field():
    sent = dict.fromkeys([*Fields.model_fields, *ALIASES])
    assert ask(**{**sent, "seed": 7}) == ask()


def test_a_text_loses_what_no_database_and_no_tokenizer_takes():
    assert ask(negative_prompt="fo\0g \ud800 mist").negative_prompt == "fog ? mist"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"steps": 20, "sample_steps": 30}, "steps and sample_steps disagree."),
        (
            {"num_inference_steps": 20, "sample_steps": "21"},
            "num_inference_steps and sample_steps disagree.",
        ),
        (
            {"guidance_scale": 7, "sample_guide_scale": 7.5},
            "guidance_scale and sample_guide_scale disagree.",
        ),
        (
            {"reference_image_url": URL, "reference_url": URL + "x"},
            "reference_image_url and reference_url disagree.",
        ),
        (
            {"reference_strength": 0.8, "denoise_strength": 0.8},
            "reference_strength and denoise_strength disagree.",
        ),
        (
            {"width": 512, "height": 512, "resolution": "512x768"},
            "resolution disagrees with width and height.",
        ),
        ({"width": 512, "resolution": "768x512"}, "resolution disagrees with width and height."),
    ],
)
def test_two_names_of_one_field_that_disagree_are_rejected(sent, sentence):
    assert refusal(**sent) == sentence


def test_two_names_of_one_field_may_agree():
    request = ask(
        steps=20,
        sample_steps="20",
        num_inference_steps=20.0,
        width=512,
        height=768,
        resolution="512x768",
        reference_strength=0.65,
        denoise_strength=0.35,
        reference_url="",
        reference_image_url=URL,
    )
    assert (request.steps, request.width, request.height) == (20, 512, 768)
    assert (request.reference_strength, request.reference_url) == (0.65, URL)


@pytest.mark.parametrize(("denoise", "strength"), [(0.35, 0.65), (0.05, 0.95), (0, 1), (1, 0), ("0.3", 0.7)])
def test_denoise_strength_is_the_complement_of_reference_strength(denoise, strength):
    assert ask(denoise_strength=denoise).reference_strength == strength


@pytest.mark.parametrize(
    ("job_type", "sent", "size"),
    [
        (SDXL, {"width": 832, "height": 1216}, (832, 1216)),
        (SDXL, {"resolution": "832x1216"}, (832, 1216)),
        (SDXL, {"aspect_ratio": "1:1"}, (1024, 1024)),
        (SDXL, {"aspect_ratio": "16:9"}, (1024, 576)),
        (SDXL, {"aspect_ratio": "9:16"}, (576, 1024)),
        (SDXL, {"aspect_ratio": "16:9", "width": 512, "height": 512}, (512, 512)),
        (WAN, {}, (480, 832)),
        (WAN, {"aspect_ratio": "16:9"}, (832, 480)),
        (SKETCH, {"aspect_ratio": "1:1"}, (512, 512)),
    ],
)
def test_a_size_is_sent_or_follows_from_the_ratio_or_is_the_job_types(job_type, sent, size):
    request = ask(job_type, **sent)
    assert (request.width, request.height) == size


@pytest.mark.parametrize("ratio", ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"])
@pytest.mark.parametrize(("job_type", "step"), [(SDXL, 64), (WAN, 16), (VIDEO, 16), (SKETCH, 16)])
def test_a_size_of_a_ratio_has_that_shape_and_about_the_usual_area(job_type, step, ratio):
    request, usual = ask(job_type, aspect_ratio=ratio), ask(job_type)
    across, down = map(int, ratio.split(":"))
    assert request.width % step == request.height % step == 0
    assert request.width / request.height == pytest.approx(across / down, rel=0.04)
    if job_type is not SDXL:
        assert request.width * request.height == pytest.approx(usual.width * usual.height, rel=0.04)


@pytest.mark.parametrize("usual", [64, 2048])
@pytest.mark.parametrize("ratio", ["16:9", "9:16"])
def test_a_size_of_a_ratio_stays_within_the_limits(usual, ratio):
    small = JobType("x", "mine", Medium.image, defaults={"width": usual, "height": usual})
    request = ask(small, aspect_ratio=ratio)
    assert 64 <= min(request.width, request.height) <= max(request.width, request.height) <= 2048


@pytest.mark.parametrize("sent", [{"width": 512}, {"height": 512}])
def test_half_a_size_is_rejected(sent):
    assert refusal(**sent) == "width and height must be sent together."


@pytest.mark.parametrize("value", ["720p", "1024", "1024x", "1024x577", "32x64", "4096x64", "99999x64", 1024, [1, 2]])
def test_a_resolution_that_is_no_size_is_rejected(value):
    limit = "WIDTHxHEIGHT, each a whole number from 64 to 2048, divisible by 8"
    assert refusal(resolution=value) == f"resolution must be {limit}."


@pytest.mark.parametrize(
    ("sent", "frames"),
    [
        ({}, 81),
        ({"num_frames": 83}, 81),
        ({"num_frames": 81}, 81),
        ({"num_frames": 84}, 85),
        ({"num_frames": 1}, 1),
        ({"duration": 5}, 81),
        ({"duration": 2, "fps": 24}, 49),
        ({"duration": 0.1}, 1),
        ({"duration": 2, "num_frames": 17}, 17),
        ({"fps": 8}, 81),
        ({"num_frames": 241}, 241),
    ],
)
def test_a_video_has_four_n_plus_one_frames(sent, frames):
    assert ask(VIDEO, **sent).num_frames == frames


def test_a_video_that_is_too_long_is_rejected():
    sentence = "duration must give at most 241 frames, at 24 frames per second."
    assert refusal(VIDEO, duration=60, fps=24) == sentence


def test_a_picture_has_one_frame_whatever_was_sent():
    assert ask(WAN, num_frames=81, duration=60).num_frames == 1


@pytest.mark.parametrize(
    ("sent", "weights"),
    [
        ({"compel_weights": "(fog:1.2), (soft light:0.8)"}, (("fog", 1.2), ("soft light", 0.8))),
        ({"compel_weights": "(fog:1.2)", "compel_enabled": True}, (("fog", 1.2),)),
        ({"compel_weights": "(fog:1.2)", "compel_enabled": False}, ()),
        ({"compel_weights": ""}, ()),
        ({"compel_enabled": True}, ()),
    ],
)
def test_compel_weights_become_pairs(sent, weights):
    assert ask(**sent).compel_weights == weights


@pytest.mark.parametrize(
    "value",
    [
        "fog",
        "(fog)",
        "(fog:)",
        "(:1)",
        "( :1)",
        "(fog:2.1)",
        "(fog:-1)",
        "(fog:1),",
        "((f:1):1)",
        ", ".join(["(f:1)"] * 7),
        3,
    ],
)
def test_compel_weights_in_another_form_are_rejected(value):
    limit = "up to 6 of (word:1.2), separated by commas, each weight from 0 to 2"
    assert refusal(compel_weights=value) == f"compel_weights must be {limit}."


@pytest.mark.parametrize(
    ("sent", "loras"),
    [
        ({"lora": "ink:0.8, grain-2.0_v1"}, (("ink", 0.8), ("grain-2.0_v1", 1.0))),
        ({"loras": "ink:-1.5"}, (("ink", -1.5),)),
        ({"lora": [{"name": "ink", "strength": 0.8}, {"name": "grain"}]}, (("ink", 0.8), ("grain", 1.0))),
        ({"lora": [{"name": "ink", "strength": 2}]}, (("ink", 2.0),)),
        ({"lora": ""}, ()),
        ({"lora": []}, ()),
        ({}, ()),
    ],
)
def test_loras_become_pairs_of_a_name_and_a_strength(sent, loras):
    assert ask(**sent).lora == loras


@pytest.mark.parametrize(
    "value",
    [
        "../ink",
        "folder/ink",
        ".ink",
        "ink:2.1",
        "ink:strong",
        "ink,",
        "ink, ink:0.5",
        "a, b, c, d, e",
        "ink\u0663",
        "x" * 101,
        3,
        {"name": "ink"},
        [{"name": "/etc/ink"}],
        [{"name": "ink", "strength": "0.8"}],
        [{"name": "ink", "strength": True}],
        [{"name": "ink", "strength": 10**400}],
        [{"name": "ink", "strength": math.nan}],
        [{"name": "ink", "strength": -math.inf}],
        [{"name": "ink", "path": "x"}],
        [{"strength": 1}],
        ["ink"],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_loras_in_another_form_are_rejected(value):
    assert refusal(lora=value) == "lora must be up to 4 of name:0.8, separated by commas, each strength from -2 to 2."


def test_a_job_type_may_have_a_lora_and_a_request_may_do_without():
    inked = replace(SDXL, defaults={**SDXL.defaults, "lora": "ink:0.8"})
    assert ask(inked).lora == (("ink", 0.8),)
    assert ask(inked, lora=[]).lora == ()


def test_the_model_is_that_of_the_job_type():
    assert ask().model == ""
    assert ask(replace(SDXL, model="some/model"), model="another/model").model == "some/model"


@pytest.mark.parametrize(
    ("job_type", "sent", "enhanced", "model"),
    [
        (SDXL, {}, None, None),
        (ENHANCED, {}, None, "qwen_instruct"),
        (ENHANCED, {}, "rewritten before", None),
        (ENHANCED, {}, " ", "qwen_instruct"),
        (ENHANCED, {"skip_enhancement": True}, None, None),
        (ENHANCED, {"skip_enhancement": False}, None, "qwen_instruct"),
        (ENHANCED, {"enhancement_model": "qwen_base"}, None, "qwen_base"),
        (ENHANCED, {"enhancement_model": "none"}, None, None),
        (SDXL, {"enhancement_model": "qwen_instruct"}, None, "qwen_instruct"),
        (SDXL, {"enhancement_model": "qwen_instruct", "skip_enhancement": True}, None, None),
    ],
)
def test_a_prompt_is_enhanced_where_it_was_asked_for_and_only_once(job_type, sent, enhanced, model):
    assert parse(job({"seed": 7, **sent}, enhanced=enhanced), job_type).enhancement_model == model


def test_unknown_fields_are_kept():
    extra = {"campaign": {"id": 3}, "assets": [], "Steps": "many"}
    request = ask(steps=9, **extra)
    assert request.extra == extra


def test_a_sentence_never_holds_what_was_sent():
    for name in [*Fields.model_fields, *ALIASES]:
        assert "hunter2" not in refusal(**{name: ["hunter2"]})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
PLAUSIBLE = st.sampled_from([*range(0, 2049, 64), 0.5, "1024x576", "16:9", "true", "none", "5", "(a:1)", "", "style"])
METADATA = st.dictionaries(
    st.sampled_from([*Fields.model_fields, *ALIASES]) | st.text(st.characters(exclude_categories=()), max_size=8),
    PLAUSIBLE | ANYTHING,
    max_size=6,
)


@given(METADATA.map(lambda sent: sent if sent.get("seed") is not None else {**sent, "seed": 7}) | ANYTHING)
@example({"seed": 7, "resolution": "\u0666\u0664x64"})
@example({"seed": 7, "guidance_scale": 10**400})
def test_any_metadata_gives_a_request_or_one_sentence(metadata):
    if metadata is None or (isinstance(metadata, dict) and metadata.get("seed") is None):
        metadata = {"seed": 7}
    for job_type in (SDXL, VIDEO):
        sentence = ""
        try:
            request = parse(job(metadata), job_type)
        except RejectedError as error:
            sentence = str(error)
        if sentence:
            assert sentence.endswith(".")
            assert sentence.isprintable()
            assert len(sentence) < 200
        else:
            assert 1 <= request.count <= job_type.max_count
            assert all(64 <= side <= 2048 and side % 8 == 0 for side in (request.width, request.height))
            assert request.num_frames % 4 == 1
