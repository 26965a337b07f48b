"""What the doctor says of engines: one that cannot be imported, one that fails, a model that is not there."""

import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.doctor import engines as group
from consumer.doctor.subject import Subject
from consumer.engines import names
from consumer.settings import load_settings
from patients import Line, findings


def lines(check: str, *, quick: bool = False, limit: float | None = None, **settings: Any) -> list[Line]:
    found = findings(Subject(load_settings(**settings), quick=quick), f"engines.{check}", limit=limit)
    return [(str(each.status), each.message, each.remedy) for each in found]


def plugin(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    """Install a package with an engine `name`."""
    (directory / f"{name}_engine.py").write_text(code)
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[consumer.engines]\n{name} = {name}_engine:Made\n")
    monkeypatch.syspath_prepend(str(directory))


def test_an_engine_that_cannot_be_imported(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(bare, monkeypatch, "absent", "import a_module_that_is_not_there\n")
    assert "absent" in names()
    [found] = [line for line in lines("importable") if "absent" in line[1]]
    assert found == (
        "note",
        "The engine absent needs the module a_module_that_is_not_there, which cannot be imported.",
        "pip install 'consumer[gpu]'",
    )
    [found] = [line for line in lines("importable", engines=("absent",)) if "absent" in line[1]]
    assert found[:2] == (
        "wrong",
        "The engine absent needs the module a_module_that_is_not_there, which cannot be imported.",
    )


def test_an_engine_whose_libraries_are_missing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from consumer.engines.sketch import SketchEngine\n\n\nclass Made(SketchEngine):\n    requires = ('jax_x',)\n"
    )
    plugin(bare, monkeypatch, "needy", code)
    [found] = [line for line in lines("importable", engines=("needy",)) if "needy" in line[1]]
    assert found[:2] == ("wrong", "The engine needy needs jax_x, not installed here.")


def test_an_engine_that_there_is_not() -> None:
    found = lines("importable", engines=("sketch", "sdxll"))
    assert found[0][:2] == ("wrong", "CONSUMER_ENGINES names sdxll, and there is none.")
    assert ("ok", "sketch can be imported.", None) in found


def test_engines_that_no_job_type_names(bare: Path) -> None:
    [(status, message, _)] = lines("served", engines=("none",))
    assert (status, message) == ("wrong", "No job type names one of the engines none.")
    [(status, message, _)] = lines("served", engines=("sketch",))
    assert status == "ok"


def test_a_model_that_is_not_there(bare: Path) -> None:
    [(status, message, remedy), _] = lines("models", engines=("sdxl",), model_sdxl="./lost.safetensors")
    assert (status, message) == ("wrong", "The model of sdxl is not there.")
    assert remedy == "Set CONSUMER_MODEL_SDXL to a file, a folder or a hub id."
    (bare / "model").mkdir()
    [found, _] = lines("models", engines=("sdxl",), model_sdxl="./model")
    assert found == ("ok", "The model of sdxl is on this machine.", None)


def test_further_models_that_are_not_there(bare: Path) -> None:
    lost = {"model_wan": "tiny", "model_wan_i2v": "./lost", "model_enhance": "./gone", "model_enhance_base": "tiny"}
    found = lines("models", engines=("wan",), **lost)
    assert [message for status, message, _ in found if status == "wrong"] == [
        "The model of enhance is not there.",
        "The model of wan_i2v is not there.",
    ]
    assert found[1][2] == "Set CONSUMER_MODEL_WAN_I2V to a file, a folder or a hub id."
    assert [status for status, _, _ in lines("models", engines=("sketch",), **lost)] == ["ok"]


def test_the_folder_of_loras(bare: Path) -> None:
    [(status, _, _)] = lines("loras")
    assert status == "skip"
    [found] = lines("loras", lora_dir=bare / "lost")
    assert found == ("wrong", "CONSUMER_LORA_DIR is no folder.", "Set it to the folder that holds NAME.safetensors.")
    (bare / "ink.safetensors").touch()
    assert lines("loras", lora_dir=bare) == [("ok", "CONSUMER_LORA_DIR has 1 LoRAs.", None)]


def test_no_room_for_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "ROOM", sys.maxsize)
    [(status, message, remedy)] = lines("models", engines=("sdxl",))
    assert (status, message[:35]) == ("note", "The disk for downloaded models has ")
    assert remedy == "Make room, or set HF_HOME."
    [(status, _, _)] = lines("models", engines=("sdxl",), model_sdxl="tiny")
    assert status == "ok"


def test_a_tiny_generation() -> None:
    found = lines("generation", engines=("sketch",))
    assert [line[0] for line in found] == ["ok", "skip", "skip"]
    assert found[0][1].startswith("sketch made a tiny picture in ")
    assert [line[0] for line in lines("device", engines=("sketch",))] == ["skip"]
    assert [line[0] for line in lines("generation", quick=True)] == ["skip", "skip", "skip"]


@pytest.mark.models
def test_a_tiny_generation_of_diffusers() -> None:
    subject = Subject(load_settings(engines=("sdxl",), device="cpu"))
    assert [str(found.status) for found in findings(subject, "engines.generation")] == ["skip", "ok", "skip"]
    [device] = findings(subject, "engines.device")
    assert (str(device.status), device.message) == (
        "note",
        "There is no GPU here: engines that need one will be very slow.",
    )


@pytest.mark.models
@pytest.mark.parametrize(("free", "status"), [(100, "ok"), (3, "note")])
def test_the_memory_of_a_gpu(free: int, status: str) -> None:
    subject = Subject(load_settings(engines=("sdxl",)))
    report = {"seconds": 1.0, "device": "A GPU", "free": free * 1024**3, "total": 140 * 1024**3}
    subject.part("engine sdxl", lambda: report, "")
    [found] = findings(subject, "engines.device")
    assert str(found.status) == status
    assert found.message.startswith(f"A GPU: {free}.0 of 140.0 GiB are free")


@pytest.mark.models
def test_a_device_that_is_not_there() -> None:
    subject = Subject(load_settings(engines=("sdxl",), device="cuda:99"))
    [device] = findings(subject, "engines.device")
    assert (str(device.status), device.message) == (
        "wrong",
        "sdxl makes no picture: The device cuda:99 cannot be used here: set CONSUMER_DEVICE to auto, cpu or another.",
    )
    _, again = findings(subject, "engines.generation")
    assert (str(again.status), again.message) == ("skip", "sdxl makes no picture.")


def test_an_engine_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_SKETCH_SECONDS", "long")
    [(status, message, _)] = lines("generation", engines=("sketch",))
    assert status == "wrong"
    assert message == "sketch makes no picture: CONSUMER_SKETCH_SECONDS must be a number of seconds, 0 or more."


def test_an_engine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_SKETCH_SECONDS", "3600")
    monkeypatch.setattr(group, "SECONDS", 2.0)
    [(status, message, _)] = lines("generation", engines=("sketch",))
    assert (status, message) == ("wrong", "sketch made no picture within 2 seconds.")
