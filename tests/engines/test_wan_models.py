"""Which model serves a request, and what is refused in one sentence: before anything loads, where that can be known."""

import shutil

import pytest

from consumer.engines import checkpoint
from consumer.engines.residency import Residency
from consumer.engines.tiny_wan import BUILDERS
from consumer.engines.wan import WanEngine
from consumer.errors import ConsumerError, EngineUnusableError, RejectedError
from consumer.fields import MAX_FRAMES
from consumer.job import Medium
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
    make_picture_request,
    make_request,
    options,
    photo,
    pipe_of,
)

pytestmark = MARKS

NO_START = "start_reference_url needs a model that begins with a picture, and this worker has none."
NO_TEXT = "start_reference_url must be sent: this worker's model begins with a picture."
NO_END = "end_reference_url needs a model that ends with a picture, and this worker has none."
NO_PAIR = "end_reference_url must be sent: this worker's model leads from one picture to another."
NOT_32 = "width must be a multiple of 32 pixels for this worker's model."
REFUSED = [
    ("tiny", STARTS, NO_START),
    ("tiny-2.2", STARTS, NO_START),
    ("tiny-i2v", {}, NO_TEXT),
    ("tiny-i2v", STARTS | ENDS, NO_END),
    ("tiny-flf2v", STARTS, NO_PAIR),
    ("tiny-flf2v", {}, NO_TEXT),
    ("tiny-2.2-i2v", {}, NO_TEXT),
    ("tiny-5b", STARTS | ENDS, NO_END),
    ("tiny-5b", {"width": 48}, NOT_32),
]


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """Folders that have the configuration of each tiny model, and no weights at all."""
    place = tmp_path_factory.mktemp("models")
    for model, build in BUILDERS.items():
        pipe = build()
        pipe.save_config(place / model)
        pipe.transformer.save_config(place / model / "transformer")
        pipe.vae.save_config(place / model / "vae")
    return place


@pytest.mark.parametrize(("model", "asked", "sentence"), REFUSED)
def test_what_a_model_cannot_do_is_refused_before_it_loads(configured, model, asked, sentence):
    engine = WanEngine(str(configured / model), options())
    with pytest.raises(RejectedError) as caught:
        engine.check(make_request(**asked))
    assert str(caught.value) == sentence


def test_the_same_is_known_of_a_model_from_the_hub_that_was_fetched_before(configured, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--maker--model" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(configured / "tiny", target_is_directory=True)
    (tmp_path / "models--maker--model" / "refs").mkdir()
    (tmp_path / "models--maker--model" / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RejectedError, match=f"^{NO_START}$"):
        WanEngine("maker/model", options()).check(make_request(**STARTS))
    WanEngine("maker/another", options()).check(make_request(**STARTS))


@pytest.mark.parametrize(("model", "asked", "sentence"), REFUSED)
def test_what_only_loading_tells_is_refused_then(model, asked, sentence):
    engine = WanEngine(model, options())
    engine.check(make_request(**asked))
    with pytest.raises(RejectedError) as caught:
        draw(engine, **asked)
    assert str(caught.value) == sentence
    with pytest.raises(RejectedError):
        engine.check(make_request(**asked))


def test_an_engine_that_finds_its_model_loaded_by_another_knows_what_it_can_do():
    shared = Residency(options())
    first, second = (WanEngine("tiny", options(), shared) for _ in range(2))
    first.load("tiny")
    with pytest.raises(RejectedError, match=f"^{NO_START}$"):
        draw(second, **STARTS)
    assert shared.loads["wan:tiny"] == 1


@pytest.mark.parametrize("broken", ["[]", "{}", "rubbish"])
def test_a_configuration_that_says_nothing_is_left_to_the_loading(configured, tmp_path, broken):
    for name in ("model_index.json", "transformer/config.json", "vae/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((configured / "tiny" / name).read_bytes())
    (tmp_path / "model_index.json").write_text(broken)
    WanEngine(str(tmp_path), options()).check(make_request())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (ENDS, "end_reference_url needs a start_reference_url."),
        ({"width": 72}, "width must be a multiple of 16 pixels for the wan engine."),
        ({"height": 40}, "height must be a multiple of 16 pixels for the wan engine."),
        (
            {"scheduler": "lcm"},
            "scheduler must be one of unipc, dpmpp_2m, euler, flow_match_euler for the wan engine.",
        ),
        ({"exact_copy_mode": True}, "exact_copy_mode is not supported by the wan engine."),
        ({"compel_weights": (("cat", 1.2),)}, "compel_weights is not supported by the wan engine."),
        (
            {"medium": Medium.image, "job_type": "image_fast", **STARTS},
            "start_reference_url is for videos, and image_fast makes pictures.",
        ),
    ],
    ids=str,
)
def test_what_no_model_of_wan_can_do_is_refused_before_anything_loads(change, sentence):
    engine = WanEngine("nobody/there-is-no-such-model", options())
    with pytest.raises(RejectedError) as caught:
        engine.check(make_request(**change))
    assert str(caught.value) == sentence
    with pytest.raises(RejectedError):
        draw(engine, **change)


def test_what_begins_with_a_picture_goes_to_the_model_for_it_and_the_rest_stays():
    engine = load_tiny("tiny", models={"wan_i2v": "tiny-i2v"})
    asked = make_request(**STARTS)
    engine.check(asked)
    begun = draw(engine, **STARTS)[0]
    assert begun.metadata["model"] == "tiny-i2v"
    assert difference(begun, draw(load_tiny("tiny-i2v"), **STARTS)[0]) <= ROUNDING
    assert draw(engine)[0].metadata["model"] == "tiny"
    assert draw_pictures(engine)[0].metadata["model"] == "tiny"


def test_a_model_that_can_begin_with_a_picture_does_so_itself():
    engine = load_tiny("tiny-5b", models={"wan_i2v": "tiny-2.2-i2v"})
    assert draw(engine, **STARTS)[0].metadata["model"] == "tiny-5b"
    assert draw(engine, **STARTS, **ENDS)[0].metadata["model"] == "tiny-2.2-i2v"


def test_a_job_types_own_model_goes_before_the_engines():
    engine = load_tiny("tiny")
    assert draw(engine, model="tiny-i2v", **STARTS)[0].metadata["model"] == "tiny-i2v"


def test_a_further_model_that_cannot_do_it_either_is_no_help():
    engine = load_tiny("tiny", models={"wan_i2v": "tiny-2.2"})
    with pytest.raises(RejectedError, match=f"^{NO_START}$"):
        draw(engine, **STARTS)


@pytest.mark.parametrize("model", ["tiny-2.2-i2v", "tiny-5b"])
def test_a_folder_makes_the_same_video(model, tmp_path):
    tiny = load_tiny(model)
    pipe_of(tiny).save_pretrained(tmp_path / "my-model")
    engine = WanEngine(str(tmp_path / "my-model"), options())
    output = draw(engine, **STARTS)[0]
    assert difference(output, draw(tiny, **STARTS)[0]) <= ROUNDING
    assert output.metadata["model"] == "my-model"


def test_two_models_with_the_same_text_encoder_keep_it_once(tmp_path):
    for model in ("tiny", "tiny-i2v"):
        BUILDERS[model]().save_pretrained(tmp_path / model)
    shutil.rmtree(tmp_path / "tiny-i2v" / "text_encoder")
    shutil.copytree(tmp_path / "tiny" / "text_encoder", tmp_path / "tiny-i2v" / "text_encoder")
    further = str(tmp_path / "tiny-i2v")
    engine = load_tiny(str(tmp_path / "tiny"), models={"wan_i2v": further})
    draw(engine, **STARTS)
    one, other = pipe_of(engine), pipe_of(engine, further)
    assert one.text_encoder is other.text_encoder
    assert one.transformer is not other.transformer


def test_a_pipeline_that_is_not_of_wan_is_refused_with_the_setting(tmp_path):
    from consumer.engines.tiny import build_sdxl

    build_sdxl().save_pretrained(tmp_path / "wrong")
    engine = WanEngine(str(tmp_path / "wrong"), options())
    with pytest.raises(EngineUnusableError) as caught:
        engine.load(engine.model)
    assert str(caught.value).startswith("The model wrong is not one of WAN")
    assert str(caught.value).endswith("See CONSUMER_MODEL_WAN.")


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        ("nobody/text", "CONSUMER_MODEL_WAN"),
        ("nobody/start", "CONSUMER_MODEL_WAN_I2V"),
        ("nobody/type", "CONSUMER_JOB_TYPES"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_with_the_setting_that_names_it(tmp_path, model, setting):
    place = {name: str(tmp_path / name) for name in ("nobody/text", "nobody/start", "nobody/type")}
    engine = WanEngine(place["nobody/text"], options(models={"wan_i2v": place["nobody/start"]}))
    with pytest.raises(EngineUnusableError, match=rf"See {setting}\.$"):
        engine.load(place[model])


def test_a_text_encoder_that_does_not_know_its_words_is_refused(monkeypatch):
    import torch

    def build():
        pipe = BUILDERS["tiny-2.2"]()
        known = pipe.text_encoder.shared.weight
        random = torch.randn(known.shape, generator=torch.Generator().manual_seed(1))
        pipe.text_encoder.encoder.embed_tokens.weight = torch.nn.Parameter(random)
        return pipe

    def equal():
        pipe = build()
        pipe.text_encoder.encoder.embed_tokens.weight.data.copy_(pipe.text_encoder.shared.weight.data)
        return pipe

    monkeypatch.setitem(BUILDERS, "tiny", build)
    sentence = r"^The text encoder of WAN could not be loaded: it needs transformers 5\.3 or newer\.$"
    with pytest.raises(EngineUnusableError, match=sentence):
        load_tiny("tiny")
    # What is there twice, though not as one, is as good.
    monkeypatch.setitem(BUILDERS, "tiny", equal)
    load_tiny("tiny")


@pytest.mark.parametrize(
    ("width", "height", "most"),
    # Of 1280 x 720 x 121 pixels, 4n + 1 frames.
    [(1280, 720, 121), (720, 1280, 121), (2048, 2048, 25), (1024, 1024, 105), (1920, 1088, 53)],
)
def test_a_video_has_as_many_pixels_as_the_largest_models_make(width, height, most):
    assert width * height * most <= 1280 * 720 * 121 < width * height * (most + 4)
    engine = WanEngine("tiny", options())
    engine.check(make_request(width=width, height=height, num_frames=most))
    with pytest.raises(RejectedError, match=f"^num_frames must be at most {most} at {width}x{height}.$"):
        engine.check(make_request(width=width, height=height, num_frames=most + 4))


def test_the_usual_size_has_room_for_every_number_of_frames_and_a_picture_for_every_size():
    engine = WanEngine("tiny", options())
    engine.check(make_request(width=480, height=832, num_frames=MAX_FRAMES))
    engine.check(make_picture_request(width=2048, height=2048))


def test_models_are_kept_under_names_without_paths_and_folders_of_one_name_apart():
    keys = [checkpoint.key("wan", model) for model in ("/a/t2v/wan", "/a/i2v/wan", "maker/wan", "tiny-i2v")]
    assert len(set(keys)) == 4
    assert keys[2:] == ["wan:maker/wan", "wan:tiny-i2v"]
    assert not any("/a" in key for key in keys)


@pytest.mark.parametrize("model", ["tiny", "tiny-5b"])
def test_a_size_that_nobody_asked_for_gives_way_to_the_model(model):
    multiple = {"tiny": 16, "tiny-5b": 32}[model]
    engine = load_tiny(model)
    pixels = draw_pictures(engine, width=112, height=80, sized=False)[0].pixels
    assert pixels.shape == (80 // multiple * multiple, 112 // multiple * multiple, 3)


def test_a_start_frame_decides_the_shape_unless_a_size_was_asked_for():
    engine = load_tiny("tiny-5b")
    upright = {"start_reference_url": Reference(b"", photo(90, 180))}
    free = draw(engine, **STARTS, references=upright, width=128, height=128, sized=False)[0].pixels
    assert free.shape[1:3] == (192, 96)
    sized = draw(engine, **STARTS, references=upright, width=64, height=32)[0].pixels
    assert sized.shape[1:3] == (32, 64)


def test_the_names_of_the_tiny_models_are_those_of_the_published_kinds():
    assert set(BUILDERS) == {"tiny", "tiny-i2v", "tiny-flf2v", "tiny-2.2", "tiny-2.2-i2v", "tiny-5b"}
    channels = {model: build().transformer.config.in_channels for model, build in BUILDERS.items()}
    assert channels == {
        "tiny": 16, "tiny-i2v": 36, "tiny-flf2v": 36, "tiny-2.2": 16, "tiny-2.2-i2v": 36, "tiny-5b": 48
    }  # fmt: skip


def test_a_video_of_no_numbers_is_no_video():
    engine = load_tiny()
    pipe_of(engine).vae.post_quant_conv.bias.data.fill_(float("nan"))
    with pytest.raises(ConsumerError, match=r"^The model's numbers overflowed: "):
        draw(engine)
