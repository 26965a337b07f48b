"""Model references, with sockets that refuse to connect: a tiny SDXL model goes to disk and comes back."""

import socket
import subprocess
import sys

import pytest

from consumer.engines.base import Options
from consumer.engines.sdxl import SdxlEngine
from consumer.errors import EngineUnusableError
from single_file import save_single_file
from tiny_sdxl import CPU, MARKS, ROUNDING, difference, draw, load_tiny, pipe_of

pytestmark = MARKS


@pytest.fixture(autouse=True)
def connections(monkeypatch) -> list[str]:
    """What somebody tried to reach, and could not."""
    tried: list[str] = []

    def refuse(*address, **_):
        tried.append(str(address))
        raise OSError("This test has no network.")

    # The hub's client tries again after longer and longer pauses, and here nothing changes meanwhile.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


@pytest.fixture(scope="module")
def tiny():
    return load_tiny()


def test_the_tiny_model_has_the_same_weights_every_time_and_leaves_the_common_seed_alone(tiny):
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    another = SdxlEngine("tiny", CPU)
    another.load(another.model)
    assert torch.equal(torch.rand(1), expected)
    assert difference(draw(another)[0], draw(tiny)[0]) <= ROUNDING


def test_a_folder_draws_the_same_picture_without_the_network(tiny, tmp_path, connections):
    pipe_of(tiny).save_pretrained(tmp_path / "my-model")
    engine = SdxlEngine(str(tmp_path / "my-model"), CPU)
    engine.load(engine.model)
    output = draw(engine)[0]
    assert difference(output, draw(tiny)[0]) <= ROUNDING
    assert output.metadata["model"] == "my-model"
    assert connections == []


@pytest.mark.parametrize("place", ["my-model", "."])
def test_a_single_file_with_its_configuration_draws_the_same_picture(tiny, tmp_path, connections, place):
    pipe_of(tiny).save_pretrained(tmp_path / place)
    for weights in (tmp_path / place).glob("*/*.safetensors"):
        weights.unlink()
    save_single_file(pipe_of(tiny), tmp_path / "my-model.safetensors")
    engine = SdxlEngine(str(tmp_path / "my-model.safetensors"), CPU)
    engine.load(engine.model)
    output = draw(engine)[0]
    assert difference(output, draw(tiny)[0]) <= ROUNDING
    assert output.metadata["model"] == "my-model.safetensors"
    assert connections == []


def test_loading_again_changes_nothing(tiny):
    pipe = pipe_of(tiny)
    tiny.load(tiny.model)
    assert pipe_of(tiny) is pipe


def test_two_models_of_one_name_in_two_folders_are_not_taken_for_each_other(tiny, tmp_path):
    import torch

    pipe, engine = pipe_of(tiny), SdxlEngine("tiny", CPU)
    pipe.save_pretrained(tmp_path / "one" / "my-model")
    with torch.no_grad():
        pipe.unet.conv_out.bias += 0.5
        pipe.save_pretrained(tmp_path / "other" / "my-model")
        pipe.unet.conv_out.bias -= 0.5
    one, other = (draw(engine, model=str(tmp_path / place / "my-model"))[0] for place in ("one", "other"))
    assert one.metadata["model"] == other.metadata["model"] == "my-model"
    assert difference(one, draw(tiny)[0]) <= ROUNDING
    assert difference(one, other) > 5


def broken(folder, kind: str) -> str:
    """A model reference that cannot work."""
    path = folder / "wrong"
    if kind == "an empty folder":
        path.mkdir()
    elif kind == "a file of rubbish":
        path = path.with_suffix(".safetensors")
        path.write_bytes(b"rubbish" * 100)
    elif kind == "pickled weights":
        path = path.with_suffix(".ckpt")
        path.write_bytes(b"\x80\x04N.")
    elif kind == "no such file":
        path = path.with_suffix(".safetensors")
    elif kind == "a hub id out of reach":
        return "nobody/wrong"
    return str(path)


@pytest.mark.parametrize(
    "kind",
    [
        "an empty folder",
        "a file of rubbish",
        "pickled weights",
        "no such file",
        "nothing",
        "a hub id out of reach",
    ],
)
def test_an_impossible_model_is_named_in_one_sentence_with_the_setting(tmp_path, connections, kind):
    engine = SdxlEngine(broken(tmp_path, kind), CPU)
    for _ in range(2):
        with pytest.raises(EngineUnusableError) as caught:
            engine.load(engine.model)
    sentence = str(caught.value)
    assert "wrong" in sentence
    assert sentence.endswith("See CONSUMER_MODEL_SDXL.")
    assert str(tmp_path) not in sentence
    assert "\n" not in sentence
    assert bool(connections) == (kind == "a hub id out of reach")


def test_a_folder_without_weights_is_refused(tiny, tmp_path):
    pipe_of(tiny).save_pretrained(tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(EngineUnusableError, match=r"^The model .* could not be loaded: .*\.safetensors weights"):
        SdxlEngine(str(tmp_path), CPU).load(str(tmp_path))


def test_no_model_means_sdxl_base():
    assert SdxlEngine("", CPU).model == "stabilityai/stable-diffusion-xl-base-1.0"


@pytest.mark.parametrize("device", ["cuda:99", "banana"])
def test_a_device_that_is_not_there_is_named_in_one_sentence(device):
    with pytest.raises(EngineUnusableError, match=f"^The device {device} cannot be used here: "):
        SdxlEngine("tiny", Options(device=device)).load("tiny")


def test_without_the_libraries_the_engine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(EngineUnusableError, match=r"^This engine cannot import diffusers: install the extra `gpu`\.$"):
        SdxlEngine("tiny", CPU).load("tiny")


def test_an_engine_that_is_only_asked_imports_no_torch():
    ask = "from consumer.engines.sdxl import SdxlEngine; SdxlEngine('', 'auto')"
    code = f"import sys; {ask}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
