"""What only a GPU can show: weights that really move, memory that really runs out, and a budget that really binds."""

import subprocess
import sys
from contextlib import suppress

import pytest

from consumer.engines import diffusion, offload
from consumer.engines.base import Options
from consumer.engines.offload import Offload
from consumer.engines.residency import Residency
from consumer.engines.sdxl import SdxlEngine
from consumer.errors import OutOfMemoryError
from tiny_sdxl import MARKS, difference, draw
from toy_models import MB, Toy, part

pytestmark = [*MARKS, pytest.mark.gpu]

# Of 255; a GPU adds up in another order for another batch.
CLOSE = 4


@pytest.fixture(autouse=True)
def gpu():
    """All of it: without the limit, and the models, of another test."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    diffusion.import_diffusers()
    yield
    diffusion.free_memory()
    torch.cuda.set_per_process_memory_fraction(1.0)


def residency(**options) -> Residency:
    return Residency(Options(**{"device": "cuda", **options}))


def on_gpu(model) -> set[bool]:
    return {weights.is_cuda for each in offload.parts(model).values() for weights in each.parameters()}


def allocated() -> float:
    """In megabytes."""
    import torch

    diffusion.free_memory()
    return torch.cuda.memory_allocated() / MB


def take(megabytes: int):
    import torch

    return diffusion.guarded(lambda: torch.empty(megabytes * MB, dtype=torch.uint8, device="cuda"))


def test_weights_go_to_the_gpu_and_leave_it_for_others():
    rooms, before = residency(vram_gb=0.3), allocated()
    with rooms.use("a", lambda: Toy(part=part(200))) as a:
        assert on_gpu(a) == {True}
        assert allocated() - before == pytest.approx(200, abs=5)
    with rooms.use("b", lambda: Toy(part=part(200))) as b:
        assert (on_gpu(a), on_gpu(b)) == ({False}, {True})
        assert allocated() - before == pytest.approx(200, abs=5)
    assert (rooms.state("a"), rooms.loads["a"]) == ("in RAM", 1)


def test_without_a_setting_the_budget_is_what_is_free():
    import torch

    rooms, free = residency(), torch.cuda.mem_get_info()[0]
    with rooms.use("a", lambda: Toy(part=part(1))):
        assert rooms._ledger.device_bytes == pytest.approx(free, rel=0.1)


def test_what_the_work_took_is_remembered():
    rooms = residency(vram_gb=1)
    with rooms.use("a", lambda: Toy(part=part(100))):
        take(400)
    with rooms.use("b", lambda: Toy(part=part(600))):
        assert rooms.resident() == {"a", "b"}
    with rooms.use("a", lambda: pytest.fail("it is there")):
        assert rooms.resident() == {"a"}


def test_the_budget_binds_torch_itself():
    with residency(vram_gb=0.5).use("a", lambda: Toy(part=part(1))):
        take(400)
        with pytest.raises(OutOfMemoryError):
            take(600)


@pytest.mark.parametrize("way", [Offload.model, Offload.group])
def test_a_picture_does_not_depend_on_where_the_weights_wait(way):
    expected = draw(SdxlEngine("tiny", Options(device="cuda")))[0]
    rooms = residency(offload=way.value)
    engine = SdxlEngine("tiny", rooms.options, rooms)
    # The first picture teaches the hooks in which order the layers come, and the others rely on it.
    for _ in range(3):
        output = draw(engine)[0]
        assert difference(output, expected) <= CLOSE
        assert output.metadata["memory"] == [f"{way} offload"]
    with rooms.use("sdxl:tiny", lambda: None) as pipe:
        assert {weights.is_cuda for weights in pipe.unet.parameters()} == {False}


def test_part_by_part_only_one_part_is_on_the_gpu():
    import diffusers
    import torch

    class Pair(diffusers.DiffusionPipeline):
        model_cpu_offload_seq = "first->second"

        def __init__(self, first, second):
            super().__init__()
            self.register_modules(first=first, second=second)

    class Part(torch.nn.Linear):
        dtype = property(lambda self: self.weight.dtype)
        device = property(lambda self: self.weight.device)

    rooms, before = residency(vram_gb=0.5), allocated()
    with rooms.use("pair", lambda: Pair(*(Part(1000, 75_000, bias=False) for _ in range(2)))) as pair:
        torch.cuda.reset_peak_memory_stats()
        for module in (pair.first, pair.second):
            module(torch.ones(1, 1000, device="cuda"))
        assert rooms.report()[0]["offload"] == "model"
        # Beside the weights, what the multiplication of matrices takes for itself.
        assert 300 <= torch.cuda.max_memory_allocated() / MB - before < 400
    assert allocated() - before < 100


@pytest.mark.parametrize("ram_gb", [100.0, 0.5])
def test_by_layers_only_a_few_layers_are_on_the_gpu(ram_gb):
    import torch

    # With much RAM all weights are pinned at once, with little each layer as it goes.
    rooms, before = residency(offload="group", ram_gb=ram_gb), allocated()
    layers = torch.nn.Sequential(*(torch.nn.Linear(4096, 4096) for _ in range(10)))
    given = torch.rand(1, 4096)
    with torch.no_grad():
        expected = layers(given)
        with rooms.use("layers", lambda: layers):
            for _ in range(3):
                torch.cuda.reset_peak_memory_stats()
                assert torch.allclose(layers(given.cuda()).cpu(), expected, atol=1e-3)
            # A layer takes 67 megabytes, all of them 671.
            assert torch.cuda.max_memory_allocated() / MB - before < 300


def test_pictures_that_really_run_out_of_memory_are_drawn_in_smaller_batches():
    expected = draw(SdxlEngine("tiny", Options(device="cuda")), range(4))
    rooms = residency(vram_gb=0.4)
    engine = SdxlEngine("tiny", rooms.options, rooms)
    draw(engine)

    def work(_, args):
        # Of each picture there are two, with the prompt and without: 400 megabytes for four.
        take(50 * len(args[0]))

    with rooms.use("sdxl:tiny", lambda: None) as pipe:
        hook = pipe.unet.register_forward_pre_hook(work)
    outputs = draw(engine, range(4))
    hook.remove()
    assert [outputs[index].metadata["memory"] for index in range(4)] == [["smaller batches"]] * 4
    assert [outputs[index].metadata["batch_size"] for index in range(4)] == [2] * 4
    assert all(difference(outputs[index], expected[index]) <= CLOSE for index in range(4))
    assert rooms.loads["sdxl:tiny"] == 1


def test_a_gpu_that_is_full_fails_the_job_with_a_sentence_and_the_next_one_works():
    rooms = residency(vram_gb=0.4)
    engine = SdxlEngine("tiny", rooms.options, rooms)
    before = draw(engine)[0]
    taken = []
    with suppress(OutOfMemoryError):
        while True:
            taken.append(take(2))
    with pytest.raises(OutOfMemoryError, match=r"^The device ran out of memory"):
        draw(engine, width=1024, height=1024)
    taken.clear()
    assert difference(draw(engine)[0], before) <= CLOSE
    assert rooms.loads["sdxl:tiny"] == 1


BREAK = """
import torch
from consumer.engines import diffusion
from consumer.errors import EngineUnusableError

there = torch.zeros(4, device="cuda")

def fail():
    raise RuntimeError("CUDA error: invalid configuration argument")

try:
    diffusion.guarded(fail)
except RuntimeError:
    print("of the call")

def read_beyond():
    there[torch.tensor([10**6], device="cuda")].cpu()

try:
    diffusion.guarded(read_beyond)
except EngineUnusableError:
    print("of the device")
"""


def test_only_an_error_that_outlives_its_call_makes_the_gpu_unusable():
    # In a process of its own, whose GPU is lost to it afterwards.
    done = subprocess.run([sys.executable, "-c", BREAK], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split("\n")[:2] == ["of the call", "of the device"]
