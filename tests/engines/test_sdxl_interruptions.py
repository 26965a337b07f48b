"""The SDXL engine's progress, and what a cancelled or failed job leaves behind, with tiny random weights."""

import weakref

import pytest

from consumer.engines.sdxl import SdxlEngine
from consumer.errors import EngineUnusableError, JobCancelledError, OutOfMemoryError
from tiny_sdxl import CPU, MARKS, ROUNDING, difference, draw, load_tiny, make_request, pipe_of

pytestmark = MARKS


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


def test_progress_covers_every_picture_and_ends_at_the_total(engine):
    seen = {0: [], 1: [], 2: []}

    def on_step(indexes, done, total, *_):
        for index in indexes:
            seen[index].append((done, total))

    draw(engine, [0, 1, 2], on_step, steps=3)
    assert all(steps == [(0, 3), (0, 3), (1, 3), (2, 3), (3, 3), (3, 3)] for steps in seen.values())


@pytest.mark.parametrize("call", range(6), ids=["before", "encoded", "step 1", "step 2", "step 3", "decoded"])
def test_a_cancelled_job_leaves_no_trace_in_the_next(engine, call):
    before = draw(engine, [0, 1])
    calls = []

    def cancel(indexes, done, total, *_):
        calls.append(done)
        if len(calls) == call + 1:
            raise JobCancelledError("The job was cancelled.")

    with pytest.raises(JobCancelledError):
        draw(engine, [0, 1], cancel, prompt="another one", scheduler="unipc", width=72)
    assert len(calls) == call + 1
    after = draw(engine, [0, 1])
    assert all(difference(before[index], after[index]) <= ROUNDING for index in (0, 1))


def test_a_cancelled_job_resets_the_hooks_of_the_pipeline(engine, monkeypatch):
    resets = []
    monkeypatch.setattr(pipe_of(engine), "maybe_free_model_hooks", lambda: resets.append(True))

    def cancel(indexes, done, total, *_):
        if done == 1:
            resets.clear()
            raise JobCancelledError("The job was cancelled.")

    with pytest.raises(JobCancelledError):
        draw(engine, on_step=cancel)
    assert resets == [True]


@pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning")
def test_a_float16_model_is_whole_again_after_a_decode_that_failed(monkeypatch):
    import torch

    from consumer.engines import diffusion

    monkeypatch.setattr(diffusion, "choose_dtype", lambda device: torch.float16)
    engine = SdxlEngine("tiny", CPU)
    before = draw(engine)[0]

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(pipe_of(engine).vae, "decode", fail)
        with pytest.raises(OutOfMemoryError):
            draw(engine)
    assert before.metadata["dtype"] == "float16"
    assert difference(draw(engine)[0], before) <= ROUNDING


def test_pictures_are_handed_out_as_soon_as_their_batch_is_done(engine):
    seen = []
    outputs = engine.generate(make_request(), [0, 1, 2], lambda indexes, done, total, *_: seen.append(list(indexes)))
    assert next(outputs).index == 0
    assert [2] not in seen
    outputs.close()
    assert set(draw(engine, [2])) == {2}


def failing_unet(engine, monkeypatch, error: type[RuntimeError], text: str, *, pictures: int) -> list[int]:
    """Let the denoiser raise for more than `pictures` at once; the sizes of the batches it saw."""
    forward, sizes, lost = pipe_of(engine).unet.forward, [], []

    def fail(sample, *args, **kwargs):
        assert all(tensor() is None for tensor in lost), "a failed batch is still in memory"
        sizes.append(sample.shape[0] // 2)
        if sizes[-1] > pictures:
            lost.append(weakref.ref(sample))
            raise error(text)
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(pipe_of(engine).unet, "forward", fail)
    return sizes


def test_batches_are_halved_when_memory_runs_out(engine, monkeypatch):
    import torch

    expected = draw(engine, range(5))
    monkeypatch.setattr(engine, "_most_at_once", 4)
    sizes = failing_unet(engine, monkeypatch, torch.OutOfMemoryError, "CUDA out of memory.", pictures=2)
    pictures = draw(engine, range(5))
    assert sizes == [4, 2, 2, 2, 2, 2, 2, 1, 1, 1]
    assert [pictures[index].metadata["batch_size"] for index in range(5)] == [2, 2, 2, 2, 1]
    assert all(difference(pictures[index], expected[index]) <= ROUNDING for index in range(5))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", OutOfMemoryError),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.", OutOfMemoryError),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", OutOfMemoryError),
        ("CUDA error: an illegal memory access was encountered", EngineUnusableError),
        ("The size of tensor a (4) must match the size of tensor b (3)", RuntimeError),
    ],
)
def test_an_error_of_torch_gets_its_own_class_once_one_picture_fails(engine, monkeypatch, text, expected):
    before = draw(engine, [0, 1])
    with monkeypatch.context() as patch:
        sizes = failing_unet(engine, patch, RuntimeError, text, pictures=0)
        with pytest.raises(expected) as caught:
            draw(engine, [0, 1])
    assert type(caught.value) is expected
    assert sizes == ([2, 1] if expected is OutOfMemoryError else [2])
    after = draw(engine, [0, 1])
    assert all(difference(before[index], after[index]) <= ROUNDING for index in (0, 1))
