"""Parts of two models that hold the same weights are read, kept and moved once."""

import gc
import json
import shutil

import pytest

from consumer.engines import checkpoint, diffusion, tiny, weights
from consumer.engines.base import Options
from consumer.engines.sdxl import SdxlEngine
from tiny_sdxl import CPU, MARKS, ROUNDING, difference, draw
from toy_models import MB, Whereabouts, quick_collections, residency, use

pytestmark = MARKS

SHARED = ("text_encoder", "text_encoder_2", "vae")


@pytest.fixture(scope="module", autouse=True)
def quick():
    diffusion.import_diffusers()
    with quick_collections():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models with UNets of their own, and everything else in common."""
    import torch

    place, pipe = tmp_path_factory.mktemp("models"), tiny.build_sdxl()
    pipe.save_pretrained(place / "one")
    with torch.no_grad():
        pipe.unet.conv_out.bias += 0.5
    pipe.save_pretrained(place / "other")
    return [str(place / "one"), str(place / "other")]


@pytest.fixture(scope="module")
def alone(folders):
    """What each of them draws where nothing is shared."""
    pictures = [draw(SdxlEngine(folder, CPU))[0] for folder in folders]
    assert difference(*pictures) > ROUNDING
    return pictures


def open_model(rooms, folder, **changes):
    import torch
    from diffusers import StableDiffusionXLPipeline

    asked = {"tiny": tiny.build_sdxl, "dtype": torch.float32, "setting": "MODEL", "parts": rooms.parts, **changes}
    return checkpoint.open_pipeline(StableDiffusionXLPipeline, str(folder), **asked)


def size(*modules) -> int:
    return sum(each.nbytes for module in modules for each in (*module.parameters(), *module.buffers()))


def test_two_folders_with_the_same_text_encoders_and_vae_share_them(folders, monkeypatch):
    from transformers import CLIPTextModel

    read, from_pretrained = [], CLIPTextModel.from_pretrained
    monkeypatch.setattr(CLIPTextModel, "from_pretrained", lambda *a, **k: read.append(a) or from_pretrained(*a, **k))
    rooms = residency()
    with (
        rooms.use("one", lambda: open_model(rooms, folders[0])) as one,
        rooms.use("other", lambda: open_model(rooms, folders[1])) as other,
    ):
        assert all(getattr(one, name) is getattr(other, name) for name in SHARED)
        assert one.unet is not other.unet
        assert one.tokenizer is not other.tokenizer
    assert len(read) == 1


def test_what_is_shared_is_counted_once_and_stays_for_the_one_that_remains(folders, monkeypatch):
    whereabouts = Whereabouts(monkeypatch)
    rooms = residency(10, offload="none")
    with rooms.use("one", lambda: open_model(rooms, folders[0])) as one:
        common, whole = size(*(getattr(one, name) for name in SHARED)), size(one.unet)
    with rooms.use("other", lambda: open_model(rooms, folders[1])) as other:
        # Twice everything would be 9.4 megabytes, which would leave less than one for a third model.
        assert (common + 2 * whole) / MB < 9
        use(rooms, "third", 1)
        assert rooms.resident() == {"one", "other", "third"}
        use(rooms, "fourth", 1)
        assert rooms.resident() == {"other", "third", "fourth"}
        assert all(id(getattr(other, name)) in whereabouts.there for name in (*SHARED, "unet"))
        assert id(one.unet) not in whereabouts.there


def test_a_model_that_is_dropped_leaves_what_it_shares_to_the_other(folders):
    rooms = residency(10, ram_gb=0.0095)
    with rooms.use("one", lambda: open_model(rooms, folders[0])) as one:
        vae = id(one.vae)
    del one
    with rooms.use("other", lambda: open_model(rooms, folders[1])) as other:
        assert id(other.vae) == vae
        use(rooms, "third", 2)
        assert (rooms.state("one"), rooms.state("other")) == ("on disk", "in use")
        other("a cat", width=64, height=64, num_inference_steps=1)
    assert len(rooms.parts) == len((*SHARED, "unet"))
    use(rooms, "fourth", 9)
    del other
    gc.collect()
    assert rooms.state("other") == "on disk"
    assert not list(rooms.parts)


@pytest.mark.parametrize(
    ("offload", "megabytes"),
    [("none", None), ("model", None), ("group", None), ("auto", 4.5), ("auto", 5), ("auto", 3)],
)
def test_engines_that_share_draw_what_each_draws_alone(folders, alone, offload, megabytes):
    options = Options(device="cpu", offload=offload, vram_gb=megabytes and megabytes / 1000)
    rooms = residency(megabytes, offload=offload)
    engines = [SdxlEngine(folder, options, rooms) for folder in folders]
    for _ in range(2):
        for engine, expected in zip(engines, alone, strict=True):
            assert difference(draw(engine)[0], expected) <= ROUNDING
    assert sorted(rooms.loads.values()) == [1, 1]
    assert len({id(each) for each in rooms.parts.values()}) == len(SHARED) + 2


@pytest.mark.parametrize(
    ("offload", "expected"), [("none", {"one", "other"}), ("model", {"other"}), ("group", {"other"})]
)
def test_what_comes_by_itself_comes_for_one_model_at_a_time(folders, offload, expected):
    rooms = residency(offload=offload)
    for name, folder in zip(("one", "other"), folders, strict=True):
        with rooms.use(name, lambda folder=folder: open_model(rooms, folder)):
            pass
    assert rooms.resident() == expected
    assert rooms.state("one") != "on disk"


@pytest.mark.parametrize("change", ["a weight", "the configuration", "the dtype"])
def test_what_differs_is_not_shared(folders, tmp_path, change):
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "changed"
    shutil.copytree(folders[0], folder)
    changes = {}
    if change == "a weight":
        file = folder / "text_encoder" / "model.safetensors"
        tensors = load_file(file)
        name = max(tensors, key=lambda name: tensors[name].numel())
        tensors[name].view(-1)[tensors[name].numel() // 2] += 1
        save_file(tensors, file, metadata={"format": "pt"})
    elif change == "the configuration":
        file = folder / "text_encoder" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"layer_norm_eps": 0.1}))
    else:
        changes["dtype"] = torch.float16
    rooms = residency()
    one, other = open_model(rooms, folders[0]), open_model(rooms, folder, **changes)
    assert one.text_encoder is not other.text_encoder
    assert (one.vae is other.vae) == (change != "the dtype")
    assert other.text_encoder.dtype == changes.get("dtype", torch.float32)


def test_the_start_the_middle_and_the_end_of_each_tensor_tell_weights_apart(tmp_path):
    import torch
    from safetensors.torch import save_file

    def fingerprint(**changes):
        folder = tmp_path / "model" / "unet"
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: torch.zeros(300_000) for name in "ab"}
        for name, place in changes.items():
            tensors[name][place] = 1
        save_file(tensors, folder / "weights.safetensors")
        (folder / "config.json").write_text("{}")
        (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "A", "unet": ["b", "C"]}')
        return weights.fingerprints(tmp_path / "model")["unet"]

    same = fingerprint()
    assert fingerprint() == same
    different = [fingerprint(**{name: place}) for name in "ab" for place in (0, 150_000, 299_999)]
    assert len({same, *different}) == 7


def test_a_tiny_model_and_a_model_that_is_no_folder_share_nothing():
    rooms = residency()
    assert open_model(rooms, "tiny").vae is not open_model(rooms, "tiny").vae
    assert not list(rooms.parts)


def test_parts_of_a_folder_are_not_shared_where_nobody_asks_for_it(folders):
    rooms = residency()
    assert open_model(rooms, folders[0], parts=None).vae is not open_model(rooms, folders[0], parts=None).vae
