"""The SDXL engine's progress, and what a cancelled or failed job leaves behind, with tiny random weights."""

import weakref

import pytest

from consumer.engines import diffusion
from consumer.engines.base import Phase
from consumer.engines.diffusion import guarded
from consumer.engines.sdxl import MOST_AT_ONCE, SdxlEngine
from consumer.errors import EngineUnusableError, JobCancelledError, OutOfMemoryError
from tiny_sdxl import CPU, MARKS, ROUNDING, difference, draw, load_tiny, make_request, pipe_of, referring

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
    before = [(0, 3)] * 3
    assert all(steps == [*before, (1, 3), (2, 3), (3, 3), (3, 3)] for steps in seen.values())


REDRAWN = {"steps": 8, "reference_strength": 0.6}
"""A request that refers to a picture runs int(8 * 0.4) = 3 of its steps."""

LOAD, ENCODE, STEP, DECODE = "load?", "encode?", "step?", "decode?"
PARTS = {
    "text": [LOAD, "load", ENCODE, "text", STEP, *["unet", STEP] * 2, "unet", DECODE, "decode", STEP],
    "picture": [LOAD, "load", ENCODE, "text", STEP, "see", *["unet", STEP] * 2, "unet", DECODE, "decode", STEP],
    "heun": [LOAD, "load", ENCODE, "text", STEP, *["unet", STEP] * 4, "unet", DECODE, "decode", STEP],
}


def watched(monkeypatch) -> tuple[SdxlEngine, list[str]]:
    """An engine that has loaded nothing yet, and a list of what its parts do from then on."""
    engine, done = SdxlEngine("tiny", CPU), []
    build = engine._open

    def tell(name, work):
        def telling(*args, **kwargs):
            if done[-1:] != [name]:
                done.append(name)
            return work(*args, **kwargs)

        return telling

    def opened(model):
        done.append("load")
        pipe = build(model)
        for part, method, name in (
            (pipe.text_encoder, "forward", "text"),
            (pipe.text_encoder_2, "forward", "text"),
            (pipe.unet, "forward", "unet"),
            (pipe.vae, "encode", "see"),
            (pipe.vae, "decode", "decode"),
        ):
            monkeypatch.setattr(part, method, tell(name, getattr(part, method)))
        return pipe

    monkeypatch.setattr(engine, "_open", opened)
    return engine, done


KINDS = {"text": {}, "picture": referring(**REDRAWN), "heun": {"scheduler": "heun"}}


@pytest.mark.parametrize("kind", KINDS)
def test_it_asks_before_and_after_every_part_that_cannot_be_interrupted(monkeypatch, kind):
    engine, done = watched(monkeypatch)
    draw(engine, [0, 1], lambda _i, _d, _t, phase=Phase.step: done.append(f"{phase}?"), **KINDS[kind])
    assert done == PARTS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_job_does_no_more_work(monkeypatch, kind):
    for question in range(sum(part.endswith("?") for part in PARTS[kind])):
        engine, done = watched(monkeypatch)
        with pytest.raises(JobCancelledError):
            draw(engine, [0, 1], cancelling(question, done), **KINDS[kind])
        parts, asked = iter(PARTS[kind]), []
        while len([part for part in asked if part.endswith("?")]) <= question:
            asked.append(next(parts))
        assert done == asked


def cancelling(question: int, done: list[str]):
    """An on_step that cancels at its call number `question`."""

    def on_step(_indexes, _done, _total, phase=Phase.step):
        done.append(f"{phase}?")
        if sum(part.endswith("?") for part in done) > question:
            raise JobCancelledError("The job was cancelled.")

    return on_step


@pytest.fixture(scope="module")
def expected(engine):
    """Two pictures of a text, and two over a reference."""
    return draw(engine, [0, 1]), draw(engine, [0, 1], **referring())


@pytest.mark.parametrize("question", range(7))
@pytest.mark.parametrize("change", [{"scheduler": "unipc", "width": 72}, referring(**REDRAWN)], ids=["text", "picture"])
def test_a_cancelled_job_leaves_no_trace_in_the_next(engine, expected, question, change):
    with pytest.raises(JobCancelledError):
        draw(engine, [0, 1], cancelling(question, []), prompt="another one", **change)
    for before, after in zip(expected, (draw(engine, [0, 1]), draw(engine, [0, 1], **referring())), strict=True):
        assert all(difference(before[index], after[index]) <= ROUNDING for index in (0, 1))


@pytest.mark.parametrize("question", range(2, 7))
@pytest.mark.parametrize("kind", ["text", "picture"])
def test_a_cancelled_job_resets_the_hooks_of_the_pipeline(engine, monkeypatch, kind, question):
    """They are put on by the pipeline that was loaded, and it alone can take them off."""
    asked, resets = [], []
    monkeypatch.setattr(pipe_of(engine), "maybe_free_model_hooks", lambda: resets.append(len(asked)))
    with pytest.raises(JobCancelledError):
        draw(engine, on_step=cancelling(question, asked), **KINDS[kind])
    # Nothing of the text encoder waits in memory while the denoiser works, either.
    assert resets[0] == 2
    if 3 <= question < 6:
        assert resets[-1] == question + 1


def test_a_job_that_is_closed_between_two_batches_leaves_no_trace(engine):
    before = draw(engine)[0]
    outputs = engine.generate(make_request(scheduler="unipc", **referring()), [0, 1, 2], lambda *_: None)
    next(outputs)
    outputs.close()
    assert difference(draw(engine)[0], before) <= ROUNDING


@pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning")
@pytest.mark.parametrize("part", ["encode", "decode"])
def test_a_float16_model_is_whole_again_after_a_failure_of_its_vae(monkeypatch, part):
    import torch

    monkeypatch.setattr(diffusion, "choose_dtype", lambda device: torch.float16)
    engine = SdxlEngine("tiny", CPU)
    before = draw(engine)[0]

    def fail(*args, **kwargs):
        raise RuntimeError("It failed.")

    with monkeypatch.context() as patch:
        patch.setattr(pipe_of(engine).vae, part, fail)
        with pytest.raises(RuntimeError, match="It failed"):
            draw(engine, **referring())
    assert {weight.dtype for weight in pipe_of(engine).vae.parameters()} == {torch.float16}
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


@pytest.mark.parametrize("change", [{}, referring()], ids=["text", "picture"])
def test_batches_are_halved_when_memory_runs_out(monkeypatch, change):
    import torch

    engine = load_tiny()
    expected = draw(engine, range(5), steps=2, **change)
    monkeypatch.setitem(MOST_AT_ONCE, "cpu", 4)
    sizes = failing_unet(engine, monkeypatch, torch.OutOfMemoryError, "CUDA out of memory.", pictures=2)
    pictures = draw(engine, range(5), steps=2, **change)
    # Once more with the caches freed; then two steps, or the one that a reference leaves, for each batch.
    ran = 2 - len(change.keys() & {"reference_url"})
    assert sizes == [4, 4, *[2] * ran, *[2] * ran, *[1] * ran]
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
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", OutOfMemoryError),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", EngineUnusableError),
        ("CUDA driver error: device not ready", EngineUnusableError),
    ],
)
@pytest.mark.parametrize("alive", [False, True])
def test_an_error_of_torch_gets_its_own_class(monkeypatch, text, expected, alive):
    """An error of a device that works all the same was one of the call alone."""
    monkeypatch.setattr(diffusion, "alive", lambda: alive)
    if alive and expected is EngineUnusableError:
        expected = RuntimeError

    def fail():
        raise RuntimeError(text)

    with pytest.raises(expected) as caught:
        guarded(fail)
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUDA out of memory.", OutOfMemoryError),
        ("CUDA error: an illegal memory access was encountered", EngineUnusableError),
        ("The size of tensor a (4) must match the size of tensor b (3)", RuntimeError),
    ],
)
def test_only_memory_is_worth_another_try_and_the_next_job_is_unharmed(expected, monkeypatch, text):
    # An engine of its own, because what it gives up for lack of memory it does not take back for as large a job.
    engine = load_tiny()
    before = draw(engine, [0, 1], steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(diffusion, "alive", lambda: False)
        sizes = failing_unet(engine, patch, RuntimeError, text, pictures=0)
        with pytest.raises(expected):
            draw(engine, [0, 1])
    if expected is OutOfMemoryError:
        assert (sizes[0], sizes[-1]) == (2, 1)
    else:
        assert sizes == [2]
    after = draw(engine, [0, 1], steps=1)
    assert all(difference(before[index], after[index]) <= ROUNDING for index in (0, 1))
