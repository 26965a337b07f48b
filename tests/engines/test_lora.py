"""LoRAs: each picture is that of the model with the same change merged into its weights by hand."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from consumer.engines import diffusion, lora
from consumer.engines.sdxl import SdxlEngine
from consumer.engines.tiny import build_sdxl
from consumer.engines.tiny_wan import build_wan
from consumer.errors import ConsumerError, RejectedError
from tiny_sdxl import CPU, MARKS, ROUNDING, difference, draw, make_request

pytestmark = MARKS

LAYERS = {
    "unet": ("to_q", "to_v", "to_out.0"),
    "text_encoder": ("q_proj", "fc1"),
    "text_encoder_2": ("v_proj",),
    "transformer": ("to_q", "to_k", "ffn.net.2"),
}
# As most trainers change them: nothing of a text encoder is left out.
WHOLE = dict.fromkeys(("text_encoder", "text_encoder_2"), ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"))
UNET = ("unet",)
SDXL = ("unet", "text_encoder", "text_encoder_2")


def weights_for(pipe, seed, parts, rank=4, layers=LAYERS):
    """A LoRA for these parts of a pipeline, by the names that diffusers gives its tensors."""
    import torch

    random = torch.Generator().manual_seed(seed)
    found = {}
    for part in parts:
        for name, module in getattr(pipe, part).named_modules():
            if isinstance(module, torch.nn.Linear) and name.endswith(layers[part]):
                shape = module.out_features, module.in_features
                found[f"{part}.{name}.lora_A.weight"] = torch.randn(rank, shape[1], generator=random) / rank
                found[f"{part}.{name}.lora_B.weight"] = torch.randn(shape[0], rank, generator=random) / 2
    assert found
    return found


def merge(pipe, weights, strength, into=None):
    """Change the weights of a pipeline as a LoRA of this strength would."""
    for key, down in weights.items():
        part, _, name = key.removesuffix(".lora_A.weight").partition(".")
        if key.endswith("lora_A.weight"):
            up = weights[key.replace("lora_A", "lora_B")]
            getattr(pipe, into or part).get_submodule(name).weight.data += strength * up @ down
    return pipe


def save(weights, file):
    from safetensors.torch import save_file

    save_file(weights, file)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "loras").mkdir()
    return tmp_path / "loras"


@pytest.fixture
def engine(folder):
    return load(build_sdxl(), folder)


def load(pipe, folder=None):
    """A loaded engine around `pipe`."""
    import torch

    torch.set_num_threads(1)
    diffusion.import_diffusers()
    engine = SdxlEngine("tiny", replace(CPU, lora_dir=folder))
    engine._open = lambda model: pipe
    pipe.set_progress_bar_config(disable=True)
    engine.load("tiny")
    engine.pipe = pipe
    return engine


def picture(engine, *loras, **changes):
    return draw(engine, steps=2, lora=loras, **changes)[0]


def merged(*loras):
    """What the plain pipeline draws with these weights, each of a strength, merged into its own."""
    pipe = build_sdxl()
    for weights, strength in loras:
        merge(pipe, weights, strength)
    return picture(load(pipe))


@pytest.fixture
def reads(engine, monkeypatch):
    """The LoRAs that were read from disk, in order."""
    read, seen = lora._read, []

    def spy(pipe, adapter, files):
        seen.append(files[0].name.removesuffix(".safetensors"))
        read(pipe, adapter, files)

    monkeypatch.setattr(lora, "_read", spy)
    return seen


@pytest.mark.parametrize("strength", [1.0, 0.4, -1.0, 2.0])
def test_a_lora_changes_the_weights_of_unet_and_text_encoders_by_its_strength(engine, folder, strength):
    weights = weights_for(engine.pipe, 1, SDXL)
    save(weights, folder / "ink-1.5_v2.safetensors")
    plain, drawn = picture(engine), picture(engine, ("ink-1.5_v2", strength))
    assert difference(drawn, merged((weights, strength))) <= ROUNDING
    assert difference(drawn, plain) > 5
    assert drawn.metadata["lora"] == [{"name": "ink-1.5_v2", "strength": strength}]


def test_the_text_encoders_part_counts_and_a_strength_of_nought_is_none(engine, folder):
    weights = weights_for(engine.pipe, 1, SDXL)
    save(weights, folder / "ink.safetensors")
    save({key: value for key, value in weights.items() if key.startswith("unet")}, folder / "half.safetensors")
    assert difference(picture(engine, ("ink", 1.0)), picture(engine, ("half", 1.0))) > 5
    assert difference(picture(engine, ("ink", 0.0)), picture(engine)) <= ROUNDING


def test_two_loras_add_up(engine, folder):
    ink, fog = weights_for(engine.pipe, 1, SDXL), weights_for(engine.pipe, 2, UNET, rank=2)
    save(ink, folder / "ink.safetensors")
    save(fog, folder / "fog.safetensors")
    drawn = picture(engine, ("fog", 0.7), ("ink", 0.5))
    assert difference(drawn, merged((ink, 0.5), (fog, 0.7))) <= ROUNDING


def test_the_next_job_has_none_of_it(engine, folder):
    plain = picture(engine)
    ink, fog = weights_for(engine.pipe, 1, SDXL), weights_for(engine.pipe, 2, UNET)
    save(ink, folder / "ink.safetensors")
    save(fog, folder / "fog.safetensors")
    assert difference(picture(engine, ("ink", 1.0)), plain) > 5
    assert difference(picture(engine), plain) <= ROUNDING
    # The first one changed the text encoders too, and the second does not touch them.
    assert difference(picture(engine, ("fog", 1.0)), merged((fog, 1.0))) <= ROUNDING
    assert difference(picture(engine), plain) <= ROUNDING


def test_a_job_that_is_stopped_leaves_none_of_it(engine, folder):
    plain = picture(engine)
    save(weights_for(engine.pipe, 1, SDXL), folder / "ink.safetensors")

    def stop(indexes, done, total, phase=None):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(engine, on_step=stop, lora=[("ink", 1.0)])
    assert difference(picture(engine), plain) <= ROUNDING


def test_loras_that_were_used_lately_are_not_read_again(engine, folder, reads):
    weights = {name: weights_for(engine.pipe, seed, SDXL) for seed, name in enumerate(("ink", "fog"))}
    for name, each in weights.items():
        save(each, folder / f"{name}.safetensors")
    drawn = {name: picture(engine, (name, 1.0)) for name in weights}
    for name in ("ink", "fog", "ink"):
        assert difference(picture(engine, (name, 1.0)), drawn[name]) <= ROUNDING
        assert difference(drawn[name], merged((weights[name], 1.0))) <= ROUNDING
    assert reads == ["ink", "fog"]


@pytest.mark.parametrize("limit", ["count", "bytes"])
def test_only_some_stay_loaded_and_the_one_used_longest_ago_goes_first(engine, folder, reads, monkeypatch, limit):
    weights = weights_for(engine.pipe, 1, SDXL)
    for name in "xyz":
        save(weights, folder / f"{name}.safetensors")
    if limit == "count":
        monkeypatch.setattr(lora, "MOST_LOADED", 2)
    else:
        monkeypatch.setattr(lora, "MOST_BYTES", 2 * (folder / "x.safetensors").stat().st_size)
    drawn = [picture(engine, (name, 1.0)) for name in "xyxz"]
    assert [len(adapters) for adapters in engine.pipe.get_list_adapters().values()] == [2, 2, 2]
    assert all(difference(each, picture(engine, ("x", 1.0))) <= ROUNDING for each in drawn)
    assert reads == ["x", "y", "z"]
    assert difference(picture(engine, ("y", 1.0)), drawn[0]) <= ROUNDING
    assert reads == ["x", "y", "z", "y"]


def test_those_that_are_needed_at_once_stay_however_many_they_are(engine, folder, monkeypatch):
    monkeypatch.setattr(lora, "MOST_LOADED", 1)
    weights = [weights_for(engine.pipe, seed, UNET) for seed in range(3)]
    for number, each in enumerate(weights):
        save(each, folder / f"l{number}.safetensors")
    drawn = picture(engine, ("l0", 0.5), ("l1", 0.5), ("l2", 0.5))
    assert difference(drawn, merged(*((each, 0.5) for each in weights))) <= ROUNDING


def test_a_file_that_has_changed_is_read_again(engine, folder):
    new = weights_for(engine.pipe, 2, UNET)
    save(weights_for(engine.pipe, 1, UNET), folder / "ink.safetensors")
    old = picture(engine, ("ink", 1.0))
    save(new, folder / "ink.safetensors")
    drawn = picture(engine, ("ink", 1.0))
    assert difference(drawn, old) > 5
    assert difference(drawn, merged((new, 1.0))) <= ROUNDING


# The names of kohya's trainer: its own for the parts, and for the UNet's blocks those of the single files.
PARTS = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
BLOCKS = [
    (r"down_blocks_2_attentions_0", "input_blocks_5_1"),
    (r"mid_block_attentions_0", "middle_block_1"),
    (r"up_blocks_0_attentions_(\d)", r"output_blocks_\1_1"),
]


def kohya(weights, alpha):
    import torch

    named = {}
    for key, value in weights.items():
        part, _, rest = key.partition(".")
        module, _, half = rest.removesuffix(".weight").rpartition(".lora_")
        if part != "unet" and not module.startswith("text_model."):
            module = f"text_model.{module}"
        name = f"{PARTS[part]}_{module.replace('.', '_')}"
        for ours, theirs in BLOCKS:
            name = re.sub(ours, theirs, name)
        named[f"{name}.lora_{'down' if half == 'A' else 'up'}.weight"] = value
        named[f"{name}.alpha"] = torch.tensor(float(alpha))
    return named


@pytest.mark.parametrize("alpha", [1, 4])
def test_the_names_and_the_alpha_of_other_trainers_are_understood(engine, folder, alpha):
    weights = weights_for(engine.pipe, 1, SDXL, layers=LAYERS | WHOLE)
    named = kohya(weights, alpha)
    assert {key.split("_text_")[0] for key in named if "te" in key.split("_")[1]} == {"lora_te1", "lora_te2"}
    assert {key.split("_transformer_")[0] for key in named if "unet" in key} >= {
        "lora_unet_input_blocks_5_1", "lora_unet_middle_block_1", "lora_unet_output_blocks_0_1"
    }  # fmt: skip
    save(named, folder / "kohya.safetensors")
    # alpha / rank is a strength of its own.
    assert difference(picture(engine, ("kohya", 1.0)), merged((weights, alpha / 4))) <= ROUNDING


def test_a_lora_that_would_be_used_in_part_is_refused(engine, folder):
    plain = picture(engine)
    # Without `out_proj`, diffusers takes the attention's layers for those of another format, and leaves them out.
    weights = weights_for(engine.pipe, 1, ("text_encoder",))
    named = kohya(weights, 4)
    save(named, folder / "half.safetensors")
    fewer = sum("fc1" in key and "down" in key for key in named)
    layers = sum("down" in key for key in named)
    assert 0 < fewer < layers
    for _ in range(2):
        with pytest.raises(RejectedError) as caught:
            picture(engine, ("half", 1.0))
        assert str(caught.value) == f"lora names half, of which only {fewer} of {layers} layers fit this model."
    save(weights_for(engine.pipe, 1, UNET) | other_layers(engine.pipe), folder / "more.safetensors")
    with pytest.raises(RejectedError, match=r"^lora names more, "):
        picture(engine, ("more", 1.0))
    weights = weights_for(build_sdxl(), 1, UNET)
    scales = {key.replace("lora_A.weight", "dora_scale"): value[:1] for key, value in weights.items() if "_A" in key}
    save(weights | {key: value.clone() for key, value in scales.items()}, folder / "dora.safetensors")
    with pytest.raises(RejectedError, match=r"^lora names dora, which could not be loaded: it is a DoRA, "):
        picture(engine, ("dora", 1.0))
    assert difference(picture(engine), plain) <= ROUNDING
    assert not any(engine.pipe.get_list_adapters().values())


def test_numbers_that_overflow_are_no_picture(engine, folder):
    plain = picture(engine)
    burnt = {key: value * 1e30 for key, value in weights_for(engine.pipe, 1, UNET).items()}
    save(burnt, folder / "burnt.safetensors")
    with pytest.raises(ConsumerError, match=r"^The model's numbers overflowed: ") as caught:
        picture(engine, ("burnt", 1.0))
    assert type(caught.value) is ConsumerError
    assert difference(picture(engine), plain) <= ROUNDING


def test_image_to_image_of_the_same_weights_has_it_too(folder):
    from diffusers import StableDiffusionXLImg2ImgPipeline as ImageToImage
    from PIL import Image

    from consumer.engines.diffusion import variant

    def over(pipe):
        drawer = variant(pipe, ImageToImage, add_watermarker=False)
        drawer.set_progress_bar_config(disable=True)
        import torch

        options = {"strength": 0.6, "num_inference_steps": 4, "output_type": "np"}
        seeded = torch.Generator().manual_seed(1)
        return drawer("a cat", image=Image.new("RGB", (64, 64), "teal"), generator=seeded, **options).images

    pipe = build_sdxl()
    weights = weights_for(pipe, 1, SDXL)
    save(weights, folder / "ink.safetensors")
    plain = over(pipe)
    with lora.applied(pipe, [("ink", 1.0)], folder):
        drawn = over(pipe)
    assert np.allclose(drawn, over(merge(build_sdxl(), weights, 1.0)), atol=1 / 255)
    assert not np.allclose(drawn, plain, atol=5 / 255)
    assert np.allclose(over(pipe), plain, atol=1 / 255)


def test_a_lora_is_kept_in_the_type_of_the_model(folder):
    import torch

    pipe = build_sdxl().to(torch.bfloat16)
    save(weights_for(pipe, 1, SDXL), folder / "ink.safetensors")
    with lora.applied(pipe, [("ink", 1.0)], folder):
        types = {value.dtype for part in SDXL for value in getattr(pipe, part).parameters()}
    assert types == {torch.bfloat16}


def test_a_model_that_is_offloaded_layer_by_layer_has_it_too(engine, folder):
    from consumer.engines import offload

    weights = weights_for(engine.pipe, 1, SDXL)
    save(weights, folder / "ink.safetensors")
    save(other_shapes(engine.pipe), folder / "bad.safetensors")
    plain, expected = picture(engine), merged((weights, 1.0))
    offload.bring(engine.pipe, offload.Offload.group, engine.pipe.device)
    for _ in range(2):
        assert difference(picture(engine, ("ink", 1.0)), expected) <= ROUNDING
        assert difference(picture(engine), plain) <= ROUNDING
        with pytest.raises(RejectedError):
            picture(engine, ("bad", 1.0))


@pytest.mark.gpu
@pytest.mark.parametrize("way", ["none", "model", "group"])
def test_on_a_gpu_a_lora_works_however_the_model_is_offloaded(folder, way):
    import torch

    from consumer.engines import offload

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")

    def drawn(pipe):
        pipe.set_progress_bar_config(disable=True)
        options = {"num_inference_steps": 2, "width": 64, "height": 64, "output_type": "np"}
        return pipe("a cat", generator=torch.Generator().manual_seed(1), **options).images

    pipe, device = build_sdxl(), torch.device("cuda", 0)
    weights = weights_for(pipe, 1, SDXL)
    save(weights, folder / "ink.safetensors")
    save(other_shapes(pipe), folder / "bad.safetensors")
    offload.bring(pipe, offload.Offload(way), device)
    plain = drawn(pipe)
    with pytest.raises(RejectedError), lora.applied(pipe, [("bad", 1.0)], folder):
        pass
    for _ in range(2):
        with lora.applied(pipe, [("ink", 1.0)], folder):
            found = drawn(pipe)
        assert np.allclose(found, drawn(merge(build_sdxl(), weights, 1.0).to(device)), atol=0.02)
        assert np.allclose(drawn(pipe), plain, atol=0.02)
        # What was offloaded before still is.
        assert (pipe.unet.device.type == "cuda") is (way == "none")


# What is refused.


def refusal(loras, folder):
    with pytest.raises(RejectedError) as caught:
        lora.check(loras, folder)
    return str(caught.value)


def test_a_lora_that_is_not_there_is_refused_before_anything_loads(folder, tmp_path):
    save(weights_for(build_sdxl(), 1, UNET), folder / "ink.safetensors")
    lora.check([("ink", 1.0)], folder)
    lora.check([], None)
    engine = SdxlEngine("nobody/there-is-no-such-model", replace(CPU, lora_dir=folder))
    engine.check(make_request(lora=[("ink", 1.0)]))
    with pytest.raises(RejectedError, match=r"^lora names fog, which this worker does not have\.$"):
        engine.check(make_request(lora=[("ink", 1.0), ("fog", 1.0)]))
    assert refusal([("ink", 1.0)], None) == "lora cannot be used: this worker has no folder of LoRAs."
    assert refusal([("ink", 1.0)], tmp_path / "nowhere") == "lora names ink, which this worker does not have."


def test_a_name_cannot_leave_the_folder_and_means_a_safetensors_file_only(folder, tmp_path):
    secret = tmp_path / "secret.safetensors"
    save(weights_for(build_sdxl(), 1, UNET), secret)
    (folder / "link.safetensors").symlink_to(secret)
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.safetensors").write_bytes(secret.read_bytes())
    (folder / "pickled.bin").write_bytes(b"")
    (folder / "directory.safetensors").mkdir()
    for name in ("../secret", str(secret.with_suffix("")), "link", "sub/deep", "pickled", "directory", "secret"):
        assert refusal([(name, 1.0)], folder) == f"lora names {name}, which this worker does not have."


def garbage(pipe):
    return b"no safetensors at all"


def other_tensors(pipe):
    return {"unet.conv_in.weight": pipe.unet.conv_in.weight.data.clone()}


def other_model(pipe):
    return {key.replace("unet.", "transformer."): value for key, value in weights_for(pipe, 1, UNET).items()}


def other_layers(pipe):
    return {
        key.replace("to_q", "to_p").replace("to_v", "to_w").replace("to_out.0", "out"): value
        for key, value in weights_for(pipe, 1, UNET).items()
    }


def other_shapes(pipe):
    return {key: value[:, :-1].clone() for key, value in weights_for(pipe, 1, UNET).items()}


def other_shapes_of_a_text_encoder(pipe):
    wrong = {key: value[:, :-1].clone() for key, value in weights_for(pipe, 1, ("text_encoder_2",)).items()}
    return weights_for(pipe, 1, ("unet", "text_encoder")) | wrong


@pytest.mark.parametrize(
    "content", [garbage, other_tensors, other_model, other_layers, other_shapes, other_shapes_of_a_text_encoder]
)
def test_a_file_that_is_no_lora_of_this_model_fails_its_job_alone(engine, folder, content, caplog):
    plain, good = picture(engine), weights_for(engine.pipe, 1, SDXL)
    save(good, folder / "good.safetensors")
    bad = content(engine.pipe)
    if isinstance(bad, bytes):
        (folder / "hunter2.safetensors").write_bytes(bad)
    else:
        save(bad, folder / "hunter2.safetensors")
    caplog.set_level(logging.DEBUG)
    for loras in ([("hunter2", 1.0)], [("good", 1.0), ("hunter2", 1.0)]):
        with pytest.raises(RejectedError) as caught:
            picture(engine, *loras)
        sentence = "lora names hunter2, which could not be loaded: it must be a LoRA of this model."
        assert str(caught.value) == sentence
    assert "hunter2" not in caplog.text
    assert difference(picture(engine), plain) <= ROUNDING
    assert difference(picture(engine, ("good", 1.0)), merged((good, 1.0))) <= ROUNDING
    left = {adapter for adapters in engine.pipe.get_list_adapters().values() for adapter in adapters}
    assert len(left) == 1


# WAN.


def video(pipe):
    import torch

    torch.set_num_threads(1)
    pipe.set_progress_bar_config(disable=True)
    options = {"width": 32, "height": 32, "num_frames": 5, "num_inference_steps": 4, "max_sequence_length": 16}
    return pipe("a cat", generator=torch.Generator().manual_seed(1), output_type="np", **options).frames


def wan_2_2():
    return build_wan(experts=2, boundary=0.875)


def test_a_lora_changes_wan_and_the_next_video_has_none_of_it(folder):
    pipe = build_wan()
    weights = weights_for(pipe, 1, ("transformer",))
    save(weights, folder / "ink.safetensors")
    plain = video(pipe)
    with lora.applied(pipe, [("ink", 0.8)], folder):
        drawn = video(pipe)
    assert np.allclose(drawn, video(merge(build_wan(), weights, 0.8)), atol=1 / 255)
    assert not np.allclose(drawn, plain, atol=5 / 255)
    assert np.allclose(video(pipe), plain, atol=1 / 255)


def test_both_experts_get_the_same_file(folder):
    pipe = wan_2_2()
    weights = weights_for(pipe, 1, ("transformer",))
    save(weights, folder / "ink.safetensors")
    with lora.applied(pipe, [("ink", 0.8)], folder):
        drawn = video(pipe)
    expected = merge(merge(wan_2_2(), weights, 0.8), weights, 0.8, into="transformer_2")
    assert np.allclose(drawn, video(expected), atol=1 / 255)
    assert not np.allclose(drawn, video(merge(wan_2_2(), weights, 0.8)), atol=5 / 255)


def test_each_expert_gets_its_own_file_where_there_are_two(folder):
    pipe = wan_2_2()
    high, low = (weights_for(pipe, seed, ("transformer",)) for seed in (1, 2))
    save(high, folder / "ink.high_noise.safetensors")
    save(low, folder / "ink.low_noise.safetensors")
    lora.check([("ink", 1.0)], folder)
    with lora.applied(pipe, [("ink", 1.0)], folder):
        drawn = video(pipe)
    expected = merge(merge(wan_2_2(), high, 1.0), low, 1.0, into="transformer_2")
    assert np.allclose(drawn, video(expected), atol=1 / 255)


def test_a_model_of_one_expert_cannot_use_two_files(folder):
    pipe = build_wan()
    for expert in ("high_noise", "low_noise"):
        save(weights_for(pipe, 1, ("transformer",)), folder / f"ink.{expert}.safetensors")
    with (
        pytest.raises(RejectedError, match=r"^lora names ink, which this worker does not have\.$"),
        lora.applied(pipe, [("ink", 1.0)], folder),
    ):
        pass
