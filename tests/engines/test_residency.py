"""What is loaded, what it costs and what fits, with models of a few megabytes; the CPU stands for the device."""

import gc
import math
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.engines import budget, diffusion, offload, tiny
from consumer.engines.base import Options
from consumer.engines.sdxl import SdxlEngine
from consumer.engines.wan import WanEngine
from consumer.errors import EngineUnusableError, JobCancelledError, OutOfMemoryError
from tiny_sdxl import CPU, MARKS, draw
from toy_models import MB, Toy, Whereabouts, part, quick_collections, residency, use

pytestmark = MARKS


@pytest.fixture(scope="module", autouse=True)
def quick():
    diffusion.import_diffusers()
    with quick_collections():
        yield


@pytest.fixture
def whereabouts(monkeypatch):
    return Whereabouts(monkeypatch)


def events_of(caplog, name: str) -> list[dict]:
    return [record.fields for record in caplog.records if record.getMessage() == name]


def test_a_model_goes_from_disk_to_the_device_and_back():
    rooms = residency(3, ram_gb=0.003)
    assert rooms.state("a") == "on disk"
    with rooms.use("a", lambda: Toy(part=part(2))):
        assert rooms.state("a") == "in use"
    assert rooms.state("a") == "on the device"
    use(rooms, "b", 2)
    assert (rooms.state("a"), rooms.state("b")) == ("on disk", "on the device")


def test_a_model_is_loaded_once_not_per_job():
    rooms = residency()
    first, second = use(rooms, "a", 1), use(rooms, "a", 1)
    assert first is second
    assert (rooms.loads["a"], rooms.moves["a"]) == (1, 1)


def test_a_tiny_engine_loads_its_model_once_for_three_jobs():
    engine = SdxlEngine("tiny", CPU)
    for seed in range(3):
        draw(engine, [0], seed=seed, steps=1)
    assert dict(engine._residency.loads) == {"sdxl:tiny": 1}


def test_what_does_not_fit_beside_another_sends_the_longest_unused_one_to_ram(whereabouts):
    rooms = residency(5)
    a, b = use(rooms, "a", 2), use(rooms, "b", 2)
    use(rooms, "a", 2)
    c = use(rooms, "c", 2)
    assert [whereabouts.has(toy) for toy in (a, b, c)] == [True, False, True]
    assert (rooms.state("b"), rooms.resident()) == ("in RAM", {"a", "c"})
    assert use(rooms, "b", 2) is b
    assert (rooms.loads["b"], rooms.moves["b"], rooms.evictions["b"], rooms.evictions["a"]) == (1, 2, 1, 1)


def test_two_models_that_fit_together_never_move_again():
    rooms = residency(4)
    for _ in range(5):
        use(rooms, "a", 2)
        use(rooms, "b", 2)
    assert (dict(rooms.loads), dict(rooms.moves), dict(rooms.evictions)) == ({"a": 1, "b": 1}, {"a": 1, "b": 1}, {})


def test_two_models_that_do_not_fit_together_are_loaded_once_and_their_moves_are_counted():
    rooms = residency(3)
    for _ in range(5):
        use(rooms, "a", 2)
        use(rooms, "b", 2)
    assert (dict(rooms.loads), dict(rooms.moves)) == ({"a": 1, "b": 1}, {"a": 5, "b": 5})


def test_what_is_in_use_is_never_evicted(whereabouts):
    rooms = residency(5, offload="none")
    with rooms.use("a", lambda: Toy(part=part(3))) as a:
        use(rooms, "b", 2)
        use(rooms, "c", 2)
        assert whereabouts.has(a)
        assert rooms.resident() == {"a", "c"}
        with pytest.raises(OutOfMemoryError, match=r"^The device has no room for a model beside the one in use\.$"):
            use(rooms, "d", 4)
        assert rooms.resident() == {"a", "c"}
        assert rooms.state("d") == "in RAM"
    use(rooms, "d", 4)
    assert rooms.state("d") == "on the device"


def test_room_is_left_for_the_work(whereabouts):
    rooms = residency(5)
    a, b = use(rooms, "a", 2), use(rooms, "b", 2)
    assert whereabouts.has(a)
    use(rooms, "b", 2, working_bytes=2 * MB)
    assert (whereabouts.has(a), whereabouts.has(b)) == (False, True)
    assert rooms.moves["b"] == 1


def test_a_part_that_two_models_share_is_counted_and_moved_once(whereabouts):
    rooms, shared = residency(5), part(2)
    a, b = Toy(shared=shared, own=part(1)), Toy(shared=shared, own=part(2))
    for name, toy in (("a", a), ("b", b)):
        with rooms.use(name, lambda toy=toy: toy):
            pass
    assert rooms.resident() == {"a", "b"}
    assert whereabouts.megabytes == 5
    use(rooms, "c", 1)
    assert rooms.resident() == {"b", "c"}
    assert whereabouts.has(b)
    assert id(a.components["own"]) not in whereabouts.there
    use(rooms, "d", 4)
    assert rooms.resident() == {"c", "d"}
    assert whereabouts.megabytes == 5


def test_ram_too_has_a_budget_and_the_longest_unused_model_is_dropped(caplog):
    rooms = residency(2, ram_gb=0.005)
    gone = [weakref.ref(use(rooms, name, 2)) for name in "ab"]
    assert (rooms.state("a"), rooms.state("b")) == ("in RAM", "on the device")
    use(rooms, "c", 2)
    gc.collect()
    assert [toy() is None for toy in gone] == [True, False]
    assert (rooms.state("a"), rooms.state("b"), rooms.state("c")) == ("on disk", "in RAM", "on the device")
    use(rooms, "a", 2)
    assert (rooms.loads["a"], rooms.loads["c"]) == (2, 1)


def test_ram_is_made_free_before_a_model_is_read_again():
    rooms = residency(ram_gb=0.005)
    use(rooms, "a", 3)
    use(rooms, "b", 3)
    others = []

    def build():
        others.append(rooms.state("b"))
        return Toy(part=part(3))

    with rooms.use("a", build):
        pass
    assert others == ["on disk"]


def test_beside_a_device_with_memory_of_its_own_ram_holds_only_what_is_not_there():
    rooms = residency(4, ram_gb=0.0041)
    rooms._ledger.apart = True
    use(rooms, "a", 2)
    use(rooms, "b", 2)
    assert rooms.resident() == {"a", "b"}
    use(rooms, "c", 2)
    assert [rooms.state(name) for name in "abc"] == ["in RAM", "on the device", "on the device"]
    use(rooms, "a", 2)
    assert [rooms.state(name) for name in "abc"] == ["on the device", "in RAM", "on the device"]
    assert dict(rooms.loads) == {"a": 1, "b": 1, "c": 1}


def test_what_ram_has_no_room_for_leaves_the_device_without_a_copy(whereabouts):
    rooms = residency(4, ram_gb=0.001)
    rooms._ledger.apart = True
    shared, a = part(1), Toy(own=part(2))
    with rooms.use("a", lambda: a), rooms.use("b", lambda: Toy(shared=shared)):
        pass
    a.components["shared"] = shared
    use(rooms, "c", 2)
    assert (rooms.state("a"), rooms.state("b")) == ("on disk", "on the device")
    # Of a model that goes altogether no part is sent to RAM: it goes with its last reference.
    assert id(a.components["own"]) in whereabouts.there
    assert id(shared) in whereabouts.there


def test_a_model_that_can_never_fit_is_told_with_the_sizes_and_the_settings():
    rooms = residency(2, offload="none")
    with pytest.raises(EngineUnusableError) as caught:
        use(rooms, "sdxl:huge", 1, 2)
    assert str(caught.value) == (
        "The model sdxl:huge takes at least 0.003 GB of the device, and may take 0.002 GB: "
        "see CONSUMER_VRAM_GB and CONSUMER_OFFLOAD."
    )


def test_a_build_that_fails_leaves_nothing_behind():
    rooms = residency(3)

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), rooms.use("a", fail):
        pass
    assert (rooms.state("a"), rooms.report(), rooms.resident(), dict(rooms.loads)) == ("on disk", [], frozenset(), {})
    use(rooms, "a", 3)
    use(rooms, "b", 3)
    assert rooms.resident() == {"b"}


def test_a_move_that_fails_halfway_leaves_the_model_in_ram(monkeypatch, whereabouts):
    rooms = residency(4, offload="none")
    a = use(rooms, "a", 1, 1)
    use(rooms, "b", 4)
    there = list(a.components.values())
    assert not {id(each) for each in there}.intersection(whereabouts.there)
    for error, expected in (("CUDA out of memory.", OutOfMemoryError), ("CUDA error: gone", EngineUnusableError)):

        def fail(device, error=error):
            if str(device) != "cpu":
                raise RuntimeError(error)

        with monkeypatch.context() as patch:
            patch.setattr(diffusion, "alive", lambda: False)
            patch.setattr(there[1], "to", fail)
            with pytest.raises(expected):
                use(rooms, "a")
        assert (rooms.state("a"), rooms.resident(), whereabouts.megabytes) == ("in RAM", frozenset(), 0)
    assert rooms.moves["a"] == 1
    use(rooms, "a")
    assert whereabouts.has(a)


def test_a_move_that_runs_out_of_memory_is_tried_again_without_the_idle_models(monkeypatch, whereabouts):
    rooms, new = residency(offload="none"), Toy(part=part(1))
    use(rooms, "idle", 1)
    to = new.components["part"].to

    def fail(device):
        if "idle" in rooms.resident():
            raise RuntimeError("CUDA out of memory.")
        return to(device)

    monkeypatch.setattr(new.components["part"], "to", fail)
    with rooms.use("new", lambda: new):
        assert rooms.resident() == {"new"}
        assert whereabouts.megabytes == 1
    assert (rooms.state("idle"), rooms.loads["new"]) == ("in RAM", 1)


@pytest.mark.parametrize("error", [JobCancelledError, OutOfMemoryError, GeneratorExit])
def test_an_error_at_work_releases_the_model(error):
    rooms = residency(2)
    with pytest.raises(error), rooms.use("a", lambda: Toy(part=part(2))):
        raise error
    assert rooms.state("a") == "on the device"
    use(rooms, "b", 2)
    assert rooms.resident() == {"b"}


def test_it_is_known_what_would_fit_beside_the_models_on_the_device():
    rooms = residency(5)
    assert (rooms.fits("a"), rooms.resident(), rooms.report()) == (False, frozenset(), [])
    use(rooms, "a", 3)
    assert (rooms.fits("a"), rooms.fits("never loaded")) == (True, False)
    use(rooms, "b", 2)
    use(rooms, "c", 1)
    assert (rooms.resident(), rooms.fits("a")) == ({"b", "c"}, False)
    use(rooms, "d", 2)
    assert rooms.fits("c")


def test_an_engine_tells_each_of_its_models_apart():
    rooms = residency(5)
    sdxl, wan = SdxlEngine("a", CPU, rooms), WanEngine("a", CPU, rooms)
    assert not sdxl.resident("")
    use(rooms, "sdxl:a", 3)
    assert (sdxl.resident(""), sdxl.resident("a"), sdxl.resident("b")) == (True, True, False)
    assert not wan.resident("a"), "what another engine makes of a model is another model"
    use(rooms, "sdxl:b", 4)
    assert (sdxl.resident(""), sdxl.resident("b")) == (False, True)
    use(rooms, "wan:large", 5)
    use(rooms, "wan:a", 1)
    assert (rooms.state("sdxl:a"), sdxl.resident(""), wan.resident("")) == ("in RAM", True, True)


def test_a_job_type_of_wan_is_in_place_with_the_model_for_first_frames_too():
    rooms = residency(5)
    wan = WanEngine("text", Options(device="cpu", models={"wan_i2v": "start"}), rooms)
    use(rooms, "wan:other", 5)
    assert not wan.resident("")
    use(rooms, "wan:start", 5)
    assert wan.resident("")
    use(rooms, "wan:text", 5)
    assert (wan.resident(""), WanEngine("text", CPU, rooms).resident("start")) == (True, False)


class Work:
    """The bytes that work takes besides the weights, where a GPU would count them."""

    def __init__(self, monkeypatch, rooms):
        self.rooms, self.most = rooms, 0
        monkeypatch.setattr(budget, "watch_peak", lambda device: setattr(self, "most", 0))
        monkeypatch.setattr(budget, "peak", lambda device: self.most)

    def take(self, megabytes):
        weights = self.rooms._ledger.taken(self.rooms._ledger.placed())
        self.most = max(self.most, weights + int(megabytes * MB))


def test_work_is_left_the_room_that_was_seen_to_suffice_for_its_size(monkeypatch):
    rooms = residency(9)
    work = Work(monkeypatch, rooms)

    def job(name, megabytes, taken, size):
        with rooms.use(name, lambda: Toy(part=part(megabytes)), size=size):
            there = rooms.resident()
            work.take(taken)
        return there

    for _ in range(3):
        job("chat", 4, 0, 1)
        assert job("sdxl", 2, 1, 10) == {"chat", "sdxl"}
    job("sdxl", 2, 5, 40)
    # One large job costs the small ones nothing,
    for _ in range(3):
        job("chat", 4, 0, 1)
        assert job("sdxl", 2, 1, 10) == {"chat", "sdxl"}
    assert rooms.moves == {"chat": 1, "sdxl": 1}
    # and what is at least as large has its room at once.
    assert job("sdxl", 2, 5, 41) == {"sdxl"}


def test_a_load_before_a_job_leaves_the_model_as_its_last_work_needed_it():
    rooms = residency()
    with rooms.use("a", tiny.build_sdxl, size=10):
        for relief in rooms.relief("a"):
            relief.apply()
    for size, expected in (
        (None, ("group", True)),
        (9, ("none", False)),
        (None, ("none", False)),
        (10, ("group", True)),
    ):
        with rooms.use("a", tiny.build_sdxl, size=size) as pipe:
            assert (rooms.report()[0]["offload"], offload.is_tiled(pipe)) == expected
    assert rooms.moves["a"] == 5


def test_what_work_took_before_something_was_given_up_is_not_counted(monkeypatch):
    for name in ("vae tiling", "model offload", "group offload"):
        rooms = residency(100)
        work = Work(monkeypatch, rooms)
        with rooms.use("a", tiny.build_sdxl):
            work.take(50)
            [relief] = [each for each in rooms.relief("a") if each.name == name]
            assert relief.apply()
            work.take(3)
        assert rooms._ledger.models["a"].working == 3 * MB


def test_a_device_that_breaks_during_an_eviction_is_told_as_ours(monkeypatch):
    import torch

    rooms = residency(3)
    use(rooms, "a", 2)

    def fail():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    monkeypatch.setattr(diffusion, "alive", lambda: False)
    with pytest.raises(EngineUnusableError):
        use(rooms, "b", 2)


def test_the_report_tells_of_each_model_where_it_is_and_what_it_cost():
    rooms = residency(3)
    use(rooms, "a", 1, 1)
    use(rooms, "b", 2)
    told = {"bytes": 2 * MB, "loads": 1, "moves": 1}
    assert rooms.report() == [
        {"model": "a", "state": "in RAM", **told, "evictions": 1, "offload": None},
        {"model": "b", "state": "on the device", **told, "evictions": 0, "offload": "none"},
    ]


def test_loads_moves_and_evictions_are_events(caplog):
    caplog.set_level("INFO", "consumer")
    rooms = residency(2, ram_gb=0.003)
    use(rooms, "a", 2)
    use(rooms, "b", 2)
    for name in ("loaded", "moved"):
        told = events_of(caplog, f"model.{name}")
        assert [event["model"] for event in told] == ["a", "b"]
        assert all(event["bytes"] == 2 * MB and event["seconds"] >= 0 for event in told)
    assert [event["offload"] for event in events_of(caplog, "model.moved")] == ["none", "none"]
    assert events_of(caplog, "model.evicted") == [{"model": "a", "bytes": 2 * MB, "to": "disk"}]


def test_a_model_that_does_not_fit_whole_works_part_by_part_and_one_that_does_not_even_then_by_layers():
    pipe = tiny.build_sdxl()
    sizes = [sum(weights.nbytes for weights in each.state_dict().values()) for each in modules(pipe).values()]
    whole, largest = sum(sizes) / MB, max(sizes) / MB
    for megabytes, expected in ((whole + 0.1, "none"), (whole - 0.1, "model"), (largest - 0.1, "group")):
        rooms = residency(megabytes)
        with rooms.use("sdxl:tiny", lambda: pipe):
            assert rooms.report()[0]["offload"] == expected
        use(rooms, "b", 1)
        use(rooms, "c", math.floor(megabytes))
        assert rooms.resident() == {"c"}


def test_working_memory_decides_too_how_a_model_lies_on_the_device():
    rooms = residency(5)
    for working, expected in ((0, "none"), (MB // 2, "model"), (MB, "group"), (0, "none")):
        with rooms.use("sdxl:tiny", tiny.build_sdxl, working_bytes=working):
            assert rooms.report()[0]["offload"] == expected
    assert rooms.loads["sdxl:tiny"] == 1


@pytest.mark.parametrize("offload", ["none", "model", "group"])
def test_the_operator_can_say_how_a_model_lies_on_the_device(offload):
    rooms = residency(offload=offload)
    with rooms.use("sdxl:tiny", tiny.build_sdxl):
        assert rooms.report()[0]["offload"] == offload


def test_others_leave_before_a_model_is_offloaded():
    rooms = residency(5)
    use(rooms, "other", 2)
    with rooms.use("sdxl:tiny", tiny.build_sdxl):
        assert rooms.report()[-1]["offload"] == "none"
    assert rooms.state("other") == "in RAM"


def modules(pipe) -> dict:
    import torch

    return {name: each for name, each in pipe.components.items() if isinstance(each, torch.nn.Module)}


@pytest.mark.parametrize(("device", "index"), [("cuda", 3), ("cuda:0", 0), ("cuda:1", 1)])
@pytest.mark.parametrize(("vram_gb", "share"), [(6.0, 0.25), (100.0, 1.0)])
def test_on_a_gpu_torch_itself_is_kept_within_the_budget(monkeypatch, device, index, vram_gb, share):
    import torch

    limits = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=24 * 10**9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *limit: limits.append(limit))
    assert budget.of_device(Options(vram_gb=vram_gb), torch.device(device)) == vram_gb * 1e9
    assert limits == [(share, index)]


def test_without_a_setting_half_of_the_ram_may_be_taken(monkeypatch):
    monkeypatch.setattr(budget, "LIMITS", ())
    told = Path("/proc/meminfo").read_text().splitlines()
    total = next(line.split()[1] for line in told if line.startswith("MemTotal"))
    assert budget.of_ram(Options()) == pytest.approx(int(total) * 1024 / 2, rel=0.01)
    assert budget.of_ram(Options(ram_gb=2)) == 2e9


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (["8000000\n"], 4_000_000),
        (["max\n", "6000000\n"], 3_000_000),
        (["max\n"], None),
        ([f"{2**63 - 4096}\n"], None),
        ([None], None),
    ],
)
def test_in_a_container_its_limit_counts_and_not_the_machines_ram(monkeypatch, tmp_path, limits, expected):
    monkeypatch.setattr(budget, "LIMITS", ())
    whole = budget.of_ram(Options())
    files = [tmp_path / str(number) for number in range(len(limits))]
    for file, limit in zip(files, limits, strict=True):
        if limit is not None:
            file.write_text(limit)
    monkeypatch.setattr(budget, "LIMITS", tuple(files))
    assert budget.of_ram(Options()) == (whole if expected is None else expected)
    assert budget.of_ram(Options(ram_gb=2)) == 2e9


@pytest.mark.parametrize("which", [0, 1])
def test_bfloat16_is_a_question_to_the_chosen_gpu(monkeypatch, which):
    import torch

    current = [0]

    class At:
        def __init__(self, device):
            self.index = device.index

        def __enter__(self):
            self.before, current[0] = current[0], self.index

        def __exit__(self, *_):
            current[0] = self.before

    monkeypatch.setattr(torch.cuda, "device", At)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: current[0] == 1)
    expected = [torch.float16, torch.bfloat16][which]
    assert diffusion.choose_dtype(torch.device(f"cuda:{which}")) == expected


USES = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("-abcd"), st.integers(0, 3)), max_size=12)


@given(uses=USES, device=st.integers(4, 9), ram=st.integers(1, 12), apart=st.booleans())
@settings(max_examples=50, deadline=None)
def test_whatever_is_used_in_whatever_order_the_device_never_holds_more_than_its_budget(uses, device, ram, apart):
    own = {"a": 1, "b": 2, "c": 2, "d": 3}

    with pytest.MonkeyPatch.context() as patch:
        whereabouts, rooms = Whereabouts(patch), residency(device, ram_gb=ram / 1000, offload="none")
        rooms._ledger.apart = apart
        # Toys go with their last reference.
        patch.setattr(gc, "collect", lambda: 0)

        def build(name):
            if name not in "ac":
                return Toy(own=part(own[name]))
            shared = rooms.parts.get("shared")
            rooms.parts["shared"] = shared = part(1) if shared is None else shared
            return Toy(own=part(own[name]), shared=shared)

        def look(toy, working=0):
            assert whereabouts.has(toy)
            alone = sum(each.weight.nbytes for each in toy.components.values()) / MB
            assert whereabouts.megabytes + working <= max(device, alone + working)

        for outer, inner, working in uses:
            with rooms.use(outer, partial(build, outer), working_bytes=working * MB) as toy:
                look(toy, working)
                if inner != "-":
                    try:
                        with rooms.use(inner, partial(build, inner)) as other:
                            assert whereabouts.has(other)
                            del other
                    except OutOfMemoryError:
                        assert rooms.state(inner) != "in use"
                look(toy)
                del toy
        assert whereabouts.megabytes <= device
        told = rooms.report()
        assert rooms.resident() == {each["model"] for each in told if each["state"] == "on the device"}
        assert not any(each["state"] == "in use" for each in told)
        assert all(each["evictions"] <= each["loads"] + each["moves"] for each in told)
