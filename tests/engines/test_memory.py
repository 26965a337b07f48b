"""Out of memory: what is given up, in which order, and what is told of it."""

from contextlib import contextmanager

import numpy as np
import pytest

import tiny_wans
from consumer.engines import diffusion, lora, memory, offload, tiny
from consumer.engines.base import Options, Output
from consumer.engines.memory import Relief
from consumer.engines.residency import Residency
from consumer.engines.sdxl import SdxlEngine
from consumer.engines.wan import WanEngine
from consumer.errors import EngineUnusableError, OutOfMemoryError
from tiny_sdxl import MARKS, ROUNDING, difference, draw, make_request
from toy_models import DEVICE, out_of_memory, quick_collections, residency, use

pytestmark = MARKS

EVERYTHING = "with vae tiling and group offload"


@pytest.fixture(scope="module", autouse=True)
def quick():
    diffusion.import_diffusers()
    with quick_collections():
        yield


class Bench:
    """Draws as long as memory suffices: for a picture at once with what is given up so far, or for `bears` of them."""

    def __init__(self, bears: int, needs: int = 0):
        self.bears, self.needs = bears, needs
        self.sizes, self.given_up = [], []

    def draw(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.bears or len(self.given_up) < self.needs:
            raise OutOfMemoryError("The device ran out of memory.")
        return [Output(index, index, np.zeros((1, 1, 3), np.uint8), metadata={"steps": 1}) for index in batch]

    def relief(self, *names):
        def apply(name):
            self.given_up.append(name)
            return True

        return [Relief(name, lambda name=name: apply(name), lambda name=name: name in self.given_up) for name in names]

    def run(self, count, most, *names):
        return list(memory.in_batches(range(count), most, self.draw, self.relief(*names)))


def test_where_memory_suffices_nothing_is_given_up():
    bench = Bench(bears=4)
    outputs = bench.run(6, 4, "tiles")
    assert bench.sizes == [4, 2]
    assert [output.index for output in outputs] == list(range(6))
    assert all(output.metadata == {"steps": 1} for output in outputs)


def test_the_same_batch_is_tried_once_more_with_free_caches_before_it_is_halved(monkeypatch):
    freed = []
    monkeypatch.setattr(memory, "free_memory", lambda: freed.append(True))
    bench = Bench(bears=2)
    outputs = bench.run(5, 4, "tiles")
    assert bench.sizes == [4, 4, 2, 2, 1]
    assert freed == [True, True]
    assert [output.metadata["memory"] for output in outputs] == [["smaller batches"]] * 5
    assert bench.given_up == []


def test_a_passing_shortage_costs_nothing():
    bench, failed = Bench(bears=4), []

    def draw(batch):
        if not failed:
            failed.append(batch)
            raise OutOfMemoryError("The device ran out of memory.")
        return bench.draw(batch)

    outputs = list(memory.in_batches(range(4), 4, draw))
    assert bench.sizes == [4]
    assert "memory" not in outputs[0].metadata


def test_after_single_pictures_each_relief_is_tried_once_and_in_order():
    bench = Bench(bears=2, needs=2)
    outputs = bench.run(3, 3, "tiles", "offload", "more")
    assert bench.sizes == [3, 3, 1, 1, 1, 1, 1]
    assert bench.given_up == ["tiles", "offload"]
    assert [output.metadata["memory"] for output in outputs] == [["smaller batches", "tiles", "offload"]] * 3


def test_a_relief_that_changes_nothing_or_does_not_fit_either_is_passed_over():
    bench = Bench(bears=1, needs=1)

    def too_big():
        raise OutOfMemoryError("The device has no room for it.")

    useless = [Relief("nothing", lambda: False, lambda: False), Relief("too big", too_big, lambda: False)]
    outputs = list(memory.in_batches([0], 1, bench.draw, [*useless, *bench.relief("tiles")]))
    assert bench.sizes == [1, 1, 1]
    assert outputs[0].metadata["memory"] == ["tiles"]


def test_what_was_given_up_before_this_job_is_told_too():
    bench = Bench(bears=1)
    bench.given_up.append("tiles")
    assert bench.run(1, 1, "tiles")[0].metadata["memory"] == ["tiles"]


def test_only_what_was_drawn_after_something_was_given_up_tells_of_it():
    bench = Bench(bears=2)
    outputs = memory.in_batches(range(4), 2, bench.draw, bench.relief("tiles"))
    first = [next(outputs), next(outputs)]
    bench.needs = 1
    assert [output.metadata.get("memory") for output in (*first, *outputs)] == [
        None,
        None,
        ["smaller batches", "tiles"],
        ["smaller batches", "tiles"],
    ]


def test_when_nothing_is_left_the_job_fails_and_the_sentence_says_what_was_tried():
    bench = Bench(bears=0)
    with pytest.raises(OutOfMemoryError) as caught:
        bench.run(4, 4, "vae tiling", "group offload")
    assert bench.sizes == [4, 4, 2, 1, 1, 1]
    assert str(caught.value) == (
        "The device ran out of memory, even one at a time, with vae tiling and group offload: "
        "a smaller width, height or num_frames may fit."
    )
    with pytest.raises(OutOfMemoryError, match=r"^The device ran out of memory, even one at a time: a smaller "):
        Bench(bears=0).run(1, 1)


def test_each_thing_given_up_is_an_event(caplog):
    Bench(bears=1, needs=1).run(2, 2, "tiles")
    told = [record.fields for record in caplog.records if record.getMessage() == "memory.relieved"]
    assert told == [
        {"gave_up": "caches", "batch": 2},
        {"gave_up": "smaller batches", "batch": 2},
        {"gave_up": "tiles", "batch": 1},
    ]


def test_other_work_gives_up_caches_and_then_each_relief_and_returns_what_it_makes(monkeypatch):
    freed, bench, tries = [], Bench(bears=1), []
    monkeypatch.setattr(memory, "free_memory", lambda: freed.append(True))

    def work(needs):
        tries.append(list(bench.given_up))
        if len(bench.given_up) < needs:
            raise OutOfMemoryError("The device ran out of memory.")

    assert memory.relieved(lambda: work(0), bench.relief("offload")) is None
    assert (tries, freed) == ([[]], [])
    memory.relieved(lambda: work(2), bench.relief("offload", "more", "most"))
    assert tries[1:] == [[], [], ["offload"], ["offload", "more"]]
    assert len(freed) == 3
    with pytest.raises(OutOfMemoryError, match=r"^The device ran out of memory, even one at a time, with most: a "):
        memory.relieved(lambda: work(9), bench.relief("most"))


def test_a_device_that_breaks_while_caches_are_freed_is_told_as_ours(monkeypatch):
    import torch

    def fail():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    for alive, expected in ((False, EngineUnusableError), (True, RuntimeError)):
        monkeypatch.setattr(diffusion, "alive", lambda alive=alive: alive)
        with pytest.raises(expected) as caught:
            Bench(bears=0).run(1, 1)
        assert type(caught.value) is expected


def test_the_size_of_a_request_is_that_of_one_asset_in_all_its_frames():
    assert memory.size(make_request(width=64, height=32, count=4)) == 64 * 32
    assert memory.size(make_request(width=64, height=32, num_frames=5)) == 5 * 64 * 32


def engine_with(**options) -> tuple[SdxlEngine, Residency]:
    rooms = residency(**options)
    return SdxlEngine("tiny", rooms.options, rooms), rooms


def pipe_of(rooms):
    [told] = rooms.report()
    with rooms.use(told["model"], lambda: None) as pipe:
        return pipe


def draw_with(engine, **changes):
    """The first output of either engine."""
    return (draw if isinstance(engine, SdxlEngine) else tiny_wans.draw)(engine, **changes)[0]


@pytest.fixture
def whole():
    """Two pictures where memory suffices."""
    return draw(SdxlEngine("tiny", Options(device=DEVICE)), [0, 1], width=96, height=96)


def test_a_picture_whose_decoding_runs_out_of_memory_is_decoded_in_tiles(monkeypatch, whole):
    monkeypatch.setattr(offload, "TILE", 64)
    engine, rooms = engine_with()
    engine.load("tiny")
    with out_of_memory(pipe_of(rooms).vae.decoder, when=lambda z, *_: max(z.shape[-2:]) > 64 / 8):
        for _ in range(2):
            outputs = draw(engine, [0, 1], width=96, height=96)
    assert all(outputs[index].pixels.shape == whole[index].pixels.shape for index in (0, 1))
    # The second job does not try in vain what the first one gave up.
    assert [outputs[index].metadata["memory"] for index in (0, 1)] == [["vae tiling"]] * 2
    assert rooms.report()[0]["offload"] == "none"


@pytest.mark.parametrize("needed", ["model", "group"])
def test_a_picture_that_runs_out_of_memory_all_the_same_is_drawn_by_an_offloaded_model(whole, needed):
    engine, rooms = engine_with()
    engine.load("tiny")
    enough = {"model": ("model", "group"), "group": ("group",)}[needed]
    with out_of_memory(pipe_of(rooms).unet, when=lambda *_: rooms.report()[0]["offload"] not in enough):
        outputs = draw(engine, [0, 1], width=96, height=96)
        assert all(difference(outputs[index], whole[index]) <= ROUNDING for index in (0, 1))
        given_up = ["smaller batches", "vae tiling", f"{needed} offload"]
        assert [outputs[index].metadata["memory"] for index in (0, 1)] == [given_up] * 2
        sizes = []
        again = draw(engine, [0, 1], lambda batch, *_: sizes.append(len(batch)), width=96, height=96)
    assert again[0].metadata["memory"] == ["vae tiling", f"{needed} offload"]
    assert set(sizes) == {2}
    assert rooms.loads["sdxl:tiny"] == 1


@pytest.mark.parametrize("needed", ["vae tiling", "model offload", "group offload"])
def test_what_a_large_picture_needs_is_given_up_for_smaller_ones_no_more(needed):
    engine, rooms = engine_with()
    engine.load("tiny")
    pipe, tries = pipe_of(rooms), []

    def fails(sample, *_):
        tries.append(sample.shape[-1])
        given_up = {relief.name for relief in rooms.relief("sdxl:tiny") if relief.in_force()}
        return sample.shape[-1] > 64 / 8 and needed not in given_up

    def memory_of(size):
        tries.clear()
        outputs = draw(engine, [0], steps=1, width=size, height=size)
        # As the engine is asked before each job.
        engine.load("tiny")
        return outputs[0].metadata.get("memory")

    with out_of_memory(pipe.unet, when=fails):
        assert memory_of(64) is None
        told = memory_of(80)
        assert needed in told
        assert len(tries) > 1
        assert memory_of(64) is None
        assert memory_of(96) == told
        assert len(tries) == 1, "what is larger still does not try in vain"


def test_models_that_nobody_uses_leave_before_anything_is_given_up_that_shows():
    engine, rooms = engine_with()
    engine.load("tiny")
    unet = pipe_of(rooms).unet
    use(rooms, "idle", 1)
    with out_of_memory(unet, when=lambda *_: rooms.state("idle") == "on the device"):
        outputs = draw(engine, [0], steps=1)
    assert "memory" not in outputs[0].metadata
    assert rooms.state("idle") == "in RAM"
    assert rooms.report()[-1]["offload"] == "none"


@pytest.mark.parametrize("needed", ["model", "group"])
@pytest.mark.parametrize("engine_class", [SdxlEngine, WanEngine])
def test_an_encoding_that_runs_out_of_memory_is_done_by_an_offloaded_model(engine_class, needed):
    rooms = residency()
    engine = engine_class("tiny", rooms.options, rooms)
    expected = draw_with(engine)
    encoder = pipe_of(rooms).text_encoder
    enough = {"model": ("model", "group"), "group": ("group",)}[needed]
    with out_of_memory(encoder, when=lambda *_: rooms.report()[0]["offload"] not in enough):
        outputs = [draw_with(engine) for _ in range(2)]
    for output in outputs:
        assert output.metadata["memory"] == [f"{needed} offload"]
        assert difference(output, expected) <= ROUNDING
    with (
        out_of_memory(encoder),
        pytest.raises(
            OutOfMemoryError, match=r"^The device ran out of memory, even one at a time, with group offload: "
        ),
    ):
        draw_with(engine)


@pytest.mark.parametrize("engine_class", [SdxlEngine, WanEngine])
def test_loras_that_run_out_of_memory_are_loaded_into_an_offloaded_model(monkeypatch, tmp_path, engine_class):
    rooms, seen = residency(lora_dir=tmp_path), []
    engine = engine_class("tiny", rooms.options, rooms)

    @contextmanager
    def applied(*_):
        seen.append(rooms.report()[0]["offload"])
        if seen[-1] == "none":
            raise OutOfMemoryError("The device ran out of memory.")
        yield
        seen.append("gone")

    monkeypatch.setattr(lora, "check", lambda *_: None)
    monkeypatch.setattr(lora, "applied", applied)
    output = draw_with(engine, lora=(("soft", 0.5),))
    assert seen == ["none", "none", "model", "gone"]
    assert output.metadata["memory"] == ["model offload"]


@pytest.mark.parametrize("engine_class", [SdxlEngine, WanEngine])
@pytest.mark.parametrize("part", ["text_encoder", "vae"])
def test_what_fails_once_more_while_it_is_tidied_up_is_told_as_ours(monkeypatch, engine_class, part):
    rooms = residency()
    engine = engine_class("tiny", rooms.options, rooms)
    engine.load("tiny")
    pipe = pipe_of(rooms)

    def fail(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(diffusion, "alive", lambda: False)
    monkeypatch.setattr(getattr(pipe, part), "forward" if part == "text_encoder" else "decode", fail)
    monkeypatch.setattr(pipe, "maybe_free_model_hooks", fail)
    with pytest.raises(EngineUnusableError):
        draw_with(engine)


def test_an_offload_that_would_take_more_is_nothing_to_give_up():
    pipe = tiny.build_sdxl()
    whole = offload.cost(pipe, offload.Offload.none)
    rooms = residency((whole + 1000) / 1_000_000, vae_tiling="off")
    with rooms.use("a", lambda: pipe), pytest.MonkeyPatch.context() as patch:
        cost = offload.cost
        patch.setattr(offload, "cost", lambda model, way: whole + 2000 if way == "group" else cost(model, way))
        given_up = [relief.name for relief in rooms.relief("a") if relief.apply()]
        assert given_up == ["model offload"]
        assert rooms.report()[0]["offload"] == "model"


def test_what_a_model_was_driven_to_outlives_that_it_is_dropped():
    rooms = residency(ram_gb=0.005)
    with rooms.use("a", tiny.build_sdxl):
        for relief in rooms.relief("a"):
            relief.apply()
    with rooms.use("b", tiny.build_sdxl):
        assert rooms.state("a") == "on disk"
    with rooms.use("a", tiny.build_sdxl) as pipe:
        assert offload.is_tiled(pipe)
        assert rooms.report()[-1]["offload"] == "group"
    assert rooms.loads["a"] == 2


def test_settings_decide_what_may_be_given_up():
    for options, expected in (
        ({}, {"vae tiling", "model offload", "group offload"}),
        ({"vae_tiling": "off"}, {"model offload", "group offload"}),
        ({"vae_tiling": "on"}, {"model offload", "group offload"}),
        ({"offload": "none"}, {"vae tiling"}),
        ({"offload": "model"}, {"vae tiling"}),
        ({"vae_tiling": "off", "offload": "group"}, set()),
    ):
        rooms = residency(**options)
        with rooms.use("a", tiny.build_sdxl):
            assert {relief.name for relief in rooms.relief("a") if relief.apply()} == expected
            assert not any(relief.apply() for relief in rooms.relief("a"))


def test_when_all_was_tried_in_vain_the_job_fails_and_the_next_one_works(whole):
    engine, rooms = engine_with()
    engine.load("tiny")
    with (
        out_of_memory(pipe_of(rooms).unet),
        pytest.raises(OutOfMemoryError, match=f"^The device ran out of memory, even one at a time, {EVERYTHING}: "),
    ):
        draw(engine, [0, 1], width=96, height=96)
    outputs = draw(engine, [0, 1], width=96, height=96)
    assert all(difference(outputs[index], whole[index]) <= ROUNDING for index in (0, 1))
    assert rooms.loads["sdxl:tiny"] == 1


@pytest.mark.parametrize("place", ["the build", "the move", "the text encoder", "the picture"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [("CUDA error: device-side assert triggered", EngineUnusableError), ("CUDA out of memory.", OutOfMemoryError)],
)
def test_an_error_of_the_device_is_told_as_ours_wherever_it_happens(monkeypatch, place, said, expected):
    import torch

    monkeypatch.setattr(diffusion, "alive", lambda: False)
    engine, rooms = engine_with(offload="none")

    def fail(*args, **kwargs):
        if place != "the move" or DEVICE in map(str, args):
            raise RuntimeError(said)
        return to(*args, **kwargs)

    to = torch.nn.Module.to
    if place == "the build":
        monkeypatch.setattr(torch.nn, "Conv2d", fail)
        with pytest.raises(expected), rooms.use("a", tiny.build_sdxl):
            pass
        return
    if place == "the move":
        monkeypatch.setattr(torch.nn.Module, "to", fail)
    else:
        engine.load("tiny")
        pipe = pipe_of(rooms)
        monkeypatch.setattr(pipe.unet if place == "the picture" else pipe.text_encoder, "forward", fail)
    with pytest.raises(expected):
        draw(engine)
    assert rooms.state("sdxl:tiny") != "in use"
