"""The WAN engine's progress, and what a cancelled or failed job leaves behind, with tiny random weights."""

import gc
import weakref
from contextlib import contextmanager

import pytest

from consumer.engines import diffusion
from consumer.engines.base import Phase
from consumer.errors import EngineUnusableError, JobCancelledError, OutOfMemoryError
from tiny_sdxl import MARKS
from tiny_wans import ROUNDING, STARTS, difference, draw, draw_pictures, load_tiny, make_request, options, pipe_of
from toy_models import out_of_memory

pytestmark = MARKS


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


@pytest.fixture(scope="module")
def i2v():
    return load_tiny("tiny-2.2-i2v")


def cancel_at(call: int, calls: list):
    """An on_step that cancels the job when it is called for the `call`th time, from 0."""

    def on_step(indexes, done, total, phase=Phase.step):
        calls.append(phase)
        if len(calls) == call + 1:
            raise JobCancelledError("The job was cancelled.")

    return on_step


def test_every_asset_is_told_of_step_by_step_and_each_part_before_it_begins(engine):
    told = []
    draw(engine, [0, 1], lambda indexes, done, total, phase=Phase.step: told.append((*indexes, done, total, phase)))
    steps = [(0, Phase.step), (1, Phase.step), (2, Phase.step)]
    video = [*steps, (3, Phase.decode), (3, Phase.decode), (3, Phase.step)]
    assert told == [
        (0, 1, 0, 3, Phase.load),
        (0, 1, 0, 3, Phase.encode),
        *((index, done, 3, phase) for index in (0, 1) for done, phase in video),
    ]


def test_a_video_is_handed_out_as_soon_as_it_is_done(engine):
    seen = []
    outputs = engine.generate(make_request(), [0, 1], lambda indexes, *_: seen.append(list(indexes)))
    assert next(outputs).index == 0
    assert [1] not in seen
    outputs.close()
    assert set(draw(engine, [1])) == {1}


PARTS = ["before load", "before encoding", "before the steps", "step 1", "step 2", "step 3", "before decoding", "end"]


@pytest.mark.parametrize("call", range(8), ids=PARTS)
def test_a_cancelled_job_leaves_no_trace_in_the_next(i2v, call):
    before, calls = draw(i2v, **STARTS)[0], []
    with pytest.raises(JobCancelledError):
        draw(i2v, [0], cancel_at(call, calls), prompt="another", scheduler="euler", width=32, num_frames=9, **STARTS)
    assert len(calls) == call + 1
    assert difference(draw(i2v, **STARTS)[0], before) <= ROUNDING


def test_a_job_that_is_cancelled_while_it_denoises_ends_with_that_step(engine, monkeypatch):
    pipe, runs = pipe_of(engine), []
    for name, part in (("step", pipe.transformer), ("decode", pipe.vae.decoder)):

        def forward(*args, _name=name, _forward=part.forward, **more):
            runs.append(_name)
            return _forward(*args, **more)

        monkeypatch.setattr(part, "forward", forward)
    # Told before the load, the encoding and the steps; the fourth word is that of the first step.
    with pytest.raises(JobCancelledError):
        draw(engine, [0], cancel_at(3, []), steps=50)
    assert runs == ["step", "step"], "one denoising step, with the prompt and without it"


@pytest.mark.parametrize("call", [3, 5, 7], ids=["step 1", "step 3", "decoded"])
def test_a_cancelled_job_frees_its_hooks_and_what_it_keeps_from_frame_to_frame(i2v, monkeypatch, call):
    pipe, resets = pipe_of(i2v), []
    with monkeypatch.context() as patch:
        patch.setattr(pipe, "maybe_free_model_hooks", lambda: resets.append(True))
        calls = []
        cancel = cancel_at(call, calls)

        def on_step(*told):
            if len(calls) == call:
                resets.clear()
            cancel(*told)

        with pytest.raises(JobCancelledError):
            draw(i2v, [0], on_step, **STARTS)
    assert resets == ([True] if call < 7 else []), "once, and before the last word"
    assert not any(each is not None for each in pipe.vae._feat_map + pipe.vae._enc_feat_map)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", OutOfMemoryError),
        ("CUDA error: an illegal memory access was encountered", EngineUnusableError),
        ("The size of tensor a (4) must match the size of tensor b (3)", RuntimeError),
    ],
)
def test_an_error_in_the_middle_of_decoding_leaves_nothing_on_the_device(monkeypatch, text, expected):
    monkeypatch.setattr(diffusion, "alive", lambda: False)
    # What is given up for memory stays given up for jobs of this size, so this engine is no one else's.
    engine = load_tiny()
    before, pipe, kept = draw(engine)[0], pipe_of(engine), []
    forward = pipe.vae.decoder.forward

    def fail(sample, *args, **more):
        # Before it stands what every layer kept of the first frame.
        if pipe.vae._feat_map[0] is not None:
            raise RuntimeError(text)
        decoded = forward(sample, *args, **more)
        kept.append(weakref.ref(decoded))
        return decoded

    with monkeypatch.context() as patch:
        patch.setattr(pipe.vae.decoder, "forward", fail)
        with pytest.raises(expected) as caught:
            draw(engine)
    assert type(caught.value) is expected
    del caught
    gc.collect()
    assert kept
    assert all(frame() is None for frame in kept)
    assert not any(each is not None for each in pipe.vae._feat_map)
    assert difference(draw(engine)[0], before) <= ROUNDING


def test_what_a_transformer_remembers_of_a_cancelled_job_is_forgotten(engine):
    from diffusers import FirstBlockCacheConfig

    transformer = pipe_of(engine).transformer
    plain = draw(engine, steps=6)[0]
    transformer.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    try:
        before = draw(engine, steps=6)[0]
        assert difference(before, plain) > ROUNDING, "the cache changes something"
        with pytest.raises(JobCancelledError):
            draw(engine, [0], cancel_at(4, []), steps=6, prompt="another")
        assert difference(draw(engine, steps=6)[0], before) <= ROUNDING
    finally:
        transformer.disable_cache()
    assert difference(draw(engine, steps=6)[0], plain) <= ROUNDING


def test_batches_of_pictures_are_halved_when_memory_runs_out(monkeypatch):
    import torch

    engine = load_tiny()
    expected = draw_pictures(engine, [0, 1])
    transformer, sizes = pipe_of(engine).transformer, []

    def forward(hidden_states, *args, _forward=transformer.forward, **more):
        sizes.append(len(hidden_states))
        if len(hidden_states) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return _forward(hidden_states, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(transformer, "forward", forward)
        pictures = draw_pictures(engine, [0, 1])
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) == {2, 1}
    for index in (0, 1):
        assert pictures[index].metadata["batch_size"] == 1
        assert pictures[index].metadata["memory"] == ["smaller batches"]
        assert difference(pictures[index], expected[index]) <= ROUNDING


def test_a_variant_of_a_pipeline_goes_on_when_that_is_offloaded_in_another_way():
    """The model whose own pipeline begins with no picture begins with one here."""
    engine = load_tiny("tiny-5b", vae_tiling="off")
    rooms, expected = engine._residency, draw(engine, **STARTS)[0]
    for enough in ("model", "group"):
        with out_of_memory(
            pipe_of(engine).transformer, when=lambda *_, enough=enough: rooms.report()[0]["offload"] != enough
        ):
            video = draw(engine, **STARTS)[0]
        assert video.metadata["memory"] == [f"{enough} offload"]
        assert difference(video, expected) <= ROUNDING


def test_what_a_long_video_needs_is_given_up_for_shorter_ones_no_more():
    engine = load_tiny(vae_tiling="off")
    rooms, frames = engine._residency, [5]
    with out_of_memory(
        pipe_of(engine).transformer, when=lambda *_: frames[0] > 5 and rooms.report()[0]["offload"] == "none"
    ):
        for frames[0], told in ((5, None), (9, ["model offload"]), (5, None)):
            assert draw(engine, steps=1, num_frames=frames[0])[0].metadata.get("memory") == told


def test_a_video_is_denoised_once_when_only_its_decoding_runs_out_of_memory(monkeypatch):
    import torch

    engine = load_tiny()
    expected, pipe, steps = draw(engine)[0], pipe_of(engine), []
    denoise, decode = pipe.transformer.forward, pipe.vae.decode

    def count(*args, **more):
        steps.append(1)
        return denoise(*args, **more)

    def tiled_alone(*args, **more):
        if not pipe.vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(*args, **more)

    monkeypatch.setattr(pipe.transformer, "forward", count)
    monkeypatch.setattr(pipe.vae, "decode", tiled_alone)
    video = draw(engine)[0]
    assert len(steps) == 3 * 2, "three steps, each with the prompt and without it"
    assert video.metadata["memory"] == ["vae tiling"]
    assert difference(video, expected) <= ROUNDING


def test_the_loras_of_a_job_are_there_from_the_encoding_on_and_gone_at_its_end(engine, monkeypatch, tmp_path):
    from consumer.engines import lora

    seen = []

    @contextmanager
    def applied(pipe, loras, folder):
        seen.append((pipe is pipe_of(engine), loras, folder))
        try:
            yield
        finally:
            seen.append("gone")

    monkeypatch.setattr(lora, "check", lambda loras, folder: None)
    monkeypatch.setattr(lora, "applied", applied)
    monkeypatch.setattr(engine, "options", options(lora_dir=tmp_path))
    loras, phases = (("soft", 0.5),), []
    video = draw(engine, on_step=lambda *told: phases.append((told[-1], len(seen))), lora=loras)[0]
    assert seen == [(True, loras, tmp_path), "gone"]
    assert [count for phase, count in phases if phase is Phase.encode] == [1]
    assert {count for phase, count in phases[1:]} == {1}
    assert video.metadata["lora"] == [{"name": "soft", "strength": 0.5}]
    with pytest.raises(JobCancelledError):
        draw(engine, [0], cancel_at(3, []), lora=loras)
    assert seen[2:] == [(True, loras, tmp_path), "gone"]


def test_the_models_own_scheduler_is_there_again_after_a_job(engine):
    own = pipe_of(engine).scheduler
    draw(engine, scheduler="euler")
    assert pipe_of(engine).scheduler is own
    with pytest.raises(JobCancelledError):
        draw(engine, [0], cancel_at(3, []), scheduler="euler")
    assert pipe_of(engine).scheduler is own
