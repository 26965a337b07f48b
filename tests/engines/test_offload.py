"""A model that lies on the device part by part, or layer by layer, or decodes in tiles, draws what it draws whole."""

import functools

import numpy as np
import pytest

from consumer.engines import diffusion, offload, tiny, tiny_chat
from consumer.engines.offload import Offload
from tiny_sdxl import MARKS
from toy_models import DEVICE, Whereabouts, quick_collections, residency

pytestmark = MARKS

# Of 255; the same weights give the same picture wherever they wait, up to rounding.
ROUNDING = 0.01


@pytest.fixture(scope="module", autouse=True)
def quick():
    diffusion.import_diffusers()
    with quick_collections():
        yield


@pytest.fixture
def pipe():
    pipe = tiny.build_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(pipe, size: int = 64, seed: int = 1, **changes) -> np.ndarray:
    """(height, width, 3) in 0 to 255."""
    import torch

    asked = {"prompt": "a cat", "width": size, "height": size, "num_inference_steps": 2, **changes}
    return pipe(**asked, output_type="np", generator=torch.Generator().manual_seed(seed)).images[0] * 255


def bring(pipe, way: Offload) -> None:
    import torch

    offload.bring(pipe, way, torch.device(DEVICE))


@pytest.mark.parametrize("way", Offload)
def test_a_picture_does_not_depend_on_how_the_model_lies_on_the_device(pipe, way):
    expected = picture(pipe)
    bring(pipe, way)
    for _ in range(2):
        assert picture(pipe) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("first", Offload)
@pytest.mark.parametrize("second", Offload)
def test_one_way_can_follow_another(pipe, first, second):
    expected = picture(pipe)
    bring(pipe, first)
    offload.disarm(pipe)
    forwards = {name: part.forward for name, part in modules(pipe).items()}
    assert not any(hasattr(part, "_hf_hook") for part in modules(pipe).values())
    bring(pipe, second)
    assert picture(pipe) == pytest.approx(expected, abs=ROUNDING)
    offload.disarm(pipe)
    assert {name: part.forward for name, part in modules(pipe).items()} == forwards


def test_the_cost_is_that_of_all_weights_of_the_largest_part_or_of_two_layers_and_the_vae(pipe):
    def bytes_of(module):
        return sum(
            weights.nbytes for weights in {**dict(module.named_parameters()), **dict(module.named_buffers())}.values()
        )

    parts = modules(pipe)
    assert offload.cost(pipe, Offload.none) == sum(bytes_of(part) for part in parts.values())
    assert offload.cost(pipe, Offload.model) == bytes_of(pipe.unet)
    largest = max(weights.nbytes for name, part in parts.items() if name != "vae" for weights in part.parameters())
    least = offload.cost(pipe, Offload.group) - bytes_of(pipe.vae)
    assert 2 * largest <= least <= 2.1 * largest


def test_a_single_module_lies_there_whole_or_by_layers():
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.Linear(10, 30))
    assert offload.ways(module, "auto") == [Offload.none, Offload.group]
    assert offload.ways(module, "model") == [Offload.none]
    assert (offload.cost(module, Offload.none), offload.cost(module, Offload.group)) == (4 * 440, 2 * 4 * 330)
    given = torch.ones(1, 10)
    expected = module(given)
    bring(module, Offload.group)
    assert torch.equal(module(given), expected)


def test_by_layers_weights_are_on_the_device_only_while_they_are_used(pipe, monkeypatch):
    from diffusers.hooks.group_offloading import ModuleGroup

    there, most, used = set(), [0], set()
    onload, leave = ModuleGroup.onload_, ModuleGroup.offload_

    def weights_of(group):
        layers = [weights for layer in group.modules for weights in (*layer.parameters(), *layer.buffers())]
        return {*layers, *group.parameters, *group.buffers}

    def come(group):
        onload(group)
        there.update(weights_of(group))
        most[0] = max(most[0], sum(weights.nbytes for weights in there))

    def go(group):
        leave(group)
        there.difference_update(weights_of(group))

    def watch(layer):
        forward, own = layer.forward, {*layer.parameters(recurse=False), *layer.buffers(recurse=False)}

        def look(*args, **kwargs):
            assert own <= there, f"{type(layer).__name__} works with weights that are not there"
            used.update(own)
            return forward(*args, **kwargs)

        layer.forward = functools.update_wrapper(look, forward)

    monkeypatch.setattr(ModuleGroup, "onload_", come)
    monkeypatch.setattr(ModuleGroup, "offload_", go)
    whereabouts = Whereabouts(monkeypatch)
    by_layers = [part for name, part in modules(pipe).items() if name != "vae"]
    for layer in (layer for part in by_layers for layer in part.modules()):
        watch(layer)
    bring(pipe, Offload.group)
    assert set(whereabouts.there) == {id(pipe.vae)}
    picture(pipe)
    assert {weights for part in by_layers for weights in part.parameters()} <= used
    assert not there
    assert 0 < most[0] <= offload.cost(pipe, Offload.group) - offload.size([pipe.vae])


def test_part_by_part_each_part_comes_when_it_is_used_and_all_go_afterwards(pipe, monkeypatch):
    whereabouts = Whereabouts(monkeypatch)
    bring(pipe, Offload.model)
    assert not list(whereabouts.there)
    came = []

    def watch(_, step, __, tensors):
        came.append({name for name, part in modules(pipe).items() if id(part) in whereabouts.there})
        return tensors

    picture(pipe, callback_on_step_end=watch)
    # A CPU is where the parts are anyway, so that here nothing is sent back before the end.
    assert came == [{"text_encoder", "text_encoder_2", "unet"}] * 2
    assert not list(whereabouts.there)


def test_an_image_to_image_variant_is_offloaded_with_its_pipeline(pipe, monkeypatch):
    from diffusers import StableDiffusionXLImg2ImgPipeline
    from PIL import Image

    def over():
        variant = diffusion.variant(pipe, StableDiffusionXLImg2ImgPipeline)
        variant.set_progress_bar_config(disable=True)
        return variant

    def draw(variant):
        import torch

        asked = {"prompt": "a cat", "image": Image.new("RGB", (64, 64), "teal"), "strength": 1.0}
        noise = torch.Generator().manual_seed(1)
        return variant(**asked, num_inference_steps=2, output_type="np", generator=noise).images[0] * 255

    expected, expected_text = draw(over()), picture(pipe)
    bring(pipe, Offload.model)
    whereabouts = Whereabouts(monkeypatch)
    for _ in range(2):
        assert draw(over()) == pytest.approx(expected, abs=ROUNDING)
        assert not list(whereabouts.there)
        assert picture(pipe) == pytest.approx(expected_text, abs=ROUNDING)
        assert not list(whereabouts.there)


def test_a_variant_of_a_pipeline_that_is_not_offloaded_is_not_either(pipe):
    from diffusers import StableDiffusionXLImg2ImgPipeline

    variant = diffusion.variant(pipe, StableDiffusionXLImg2ImgPipeline)
    variant.maybe_free_model_hooks()
    assert not any(hasattr(part, "_hf_hook") for part in modules(pipe).values())
    assert diffusion.variant(pipe, type(pipe)) is pipe


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("way", [Offload.model, Offload.group])
def test_what_an_interrupted_picture_left_behind_does_not_show_in_the_next(pipe, way, stopped, monkeypatch):
    expected = picture(pipe)
    rooms, whereabouts = residency(offload=way.value), Whereabouts(monkeypatch)

    def stop(*_):
        raise KeyboardInterrupt

    if stopped:
        with pytest.raises(KeyboardInterrupt), rooms.use("a", lambda: pipe):
            picture(pipe, callback_on_step_end=stop)
        assert not list(whereabouts.there)
    with rooms.use("a", lambda: pipe):
        assert picture(pipe) == pytest.approx(expected, abs=ROUNDING)
    assert rooms.loads["a"] == 1


@pytest.mark.parametrize(("ram_gb", "sparing"), [(1.0, False), (0.006, True)])
def test_by_layers_weights_are_copied_only_where_ram_has_room_for_them_twice(pipe, monkeypatch, ram_gb, sparing):
    asked, enable, expected = [], pipe.enable_group_offload, picture(pipe)
    monkeypatch.setattr(pipe, "enable_group_offload", lambda **how: asked.append(how) or enable(**how))
    assert 0.003 < offload.size(modules(pipe).values()) / 1e9 < 0.006
    with residency(offload="group", ram_gb=ram_gb).use("a", lambda: pipe):
        assert picture(pipe) == pytest.approx(expected, abs=ROUNDING)
    assert [how["low_cpu_mem_usage"] for how in asked] == [sparing]


def test_layers_on_their_way_arrive_before_the_hooks_are_taken_off(pipe, monkeypatch):
    rooms, done, disarm = residency(), [], offload.disarm
    monkeypatch.setattr(diffusion, "synchronize", lambda device: done.append(f"wait for {device}"))
    monkeypatch.setattr(offload, "disarm", lambda model: done.append("disarm") or disarm(model))
    with rooms.use("a", lambda: pipe):
        for relief in rooms.relief("a"):
            relief.apply()
        assert (done, rooms.report()[0]["offload"]) == (["disarm"] * 2, "group")
        done.clear()
        rooms._placement.retreat(rooms._ledger.models["a"])
    assert done == [f"wait for {DEVICE}", "disarm"]


def test_tiles_change_a_picture_only_slightly_and_its_size_not_at_all(pipe, monkeypatch):
    whole, other = picture(pipe, size=256), picture(pipe, size=256, seed=2)
    monkeypatch.setattr(offload, "TILE", 128)
    assert not offload.is_tiled(pipe)
    assert offload.tile(pipe)
    assert offload.is_tiled(pipe)
    decoded, decode = [], pipe.vae.decoder.forward
    monkeypatch.setattr(pipe.vae.decoder, "forward", lambda z, *args: decoded.append(z.shape[-2:]) or decode(z, *args))
    tiled = picture(pipe, size=256)
    assert tiled.shape == whole.shape
    assert len(decoded) > 1
    assert max(max(shape) for shape in decoded) == 128 / 8
    offload.untile(pipe)
    assert not offload.is_tiled(pipe)
    assert picture(pipe, size=256) == pytest.approx(whole, abs=ROUNDING)
    assert np.abs(tiled - whole).mean() < np.abs(other - whole).mean() / 5


def test_what_has_no_vae_has_no_tiles():
    import torch

    module = torch.nn.Linear(1, 1)
    assert not offload.tile(module)
    offload.untile(module)
    assert not offload.is_tiled(module)


@pytest.mark.parametrize(("setting", "expected"), [("on", True), ("off", False), ("auto", False)])
def test_tiles_are_a_setting(setting, expected):
    with residency(vae_tiling=setting).use("a", tiny.build_sdxl) as pipe:
        assert offload.is_tiled(pipe) is expected


def modules(pipe) -> dict:
    import torch

    return {name: each for name, each in pipe.components.items() if isinstance(each, torch.nn.Module)}


def test_a_language_model_by_layers_writes_what_it_writes_whole():
    import torch

    model, tokenizer = tiny_chat.build()
    asked = tokenizer("a cat on a mat", return_tensors="pt")
    wanted = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        expected = model.generate(**asked, **wanted)
        with residency(offload="group").use("chat", lambda: model):
            assert torch.equal(model.generate(**asked, **wanted), expected)
