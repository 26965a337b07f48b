"""What makes the pipelines faster changes no picture, and says when the next call compiles."""

from functools import partial

import numpy as np
import pytest

import tiny_sdxl
from consumer.engines import diffusion, speed, tiny, tiny_wan
from consumer.engines.base import Options, Phase
from consumer.engines.sdxl import SdxlEngine
from consumer.errors import EngineUnusableError

pytestmark = tiny_sdxl.MARKS

FAST = Options(device="cpu", speed="fast")
# Of latents that reach from about -10 to 20: the same sums in another order.
ROUNDING = 1e-4


@pytest.fixture(autouse=True)
def settings():
    """One thread, and torch's own settings again afterwards."""
    import torch

    torch.set_num_threads(1)
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)
    torch._dynamo.reset()


class Compiler:
    """Compiles nothing, and counts what it was given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def prepared(pipe, options=FAST, device="cpu", **more):
    import torch

    speed.prepare(pipe, options, torch.device(device), **more)
    return pipe


def build(kind):
    diffusion.import_diffusers()
    pipe = {"sdxl": tiny.build_sdxl, "wan": tiny_wan.build_wan, "wan 2.2": tiny_wan.BUILDERS["tiny-2.2"]}[kind]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def latents(pipe, count=1, width=64):
    """What the denoiser makes of three seeds, before the VAE."""
    common = {
        "prompt": "a cat", "width": width, "height": 64, "num_inference_steps": 2, "output_type": "latent",
        "generator": diffusion.generators(40, range(count)),
    }  # fmt: skip
    if hasattr(pipe, "unet"):
        return pipe(**common, num_images_per_prompt=count).images.numpy()
    return pipe(**common, num_frames=5, num_videos_per_prompt=count, max_sequence_length=16).frames.numpy()


def weights(pipe):
    return sum(weight.numel() for part in speed._denoisers(pipe) for weight in part.parameters())


def is_channels_last(part):
    import torch

    return all(
        weight.is_contiguous(memory_format=torch.channels_last) for weight in part.parameters() if weight.ndim == 4
    )


@pytest.mark.parametrize("kind", ["sdxl", "wan", "wan 2.2"])
def test_fast_makes_the_same_with_fewer_matrices_and_no_more_weights(kind):
    pipe = build(kind)
    plain, size = latents(pipe), weights(pipe)
    prepared(pipe)
    for denoiser in speed._denoisers(pipe):
        attentions = [part for part in denoiser.modules() if hasattr(part, "fuse_projections")]
        assert attentions
        for attention in attentions:
            assert hasattr(attention, "to_kv" if attention.is_cross_attention else "to_qkv")
            assert not hasattr(attention, "to_k")
    assert weights(pipe) == size
    np.testing.assert_allclose(latents(pipe), plain, atol=ROUNDING)


def test_fast_keeps_the_weights_of_convolutions_channels_last_and_the_picture_as_it_was():
    pipe = build("sdxl")
    assert not is_channels_last(pipe.unet)
    prepared(pipe)
    assert is_channels_last(pipe.unet)
    assert is_channels_last(pipe.vae)
    assert is_channels_last(pipe.to("cpu").unet)


def test_parts_that_two_models_share_are_prepared_once():
    pipe = prepared(build("sdxl"))
    before = list(pipe.unet.parameters())
    prepared(type(pipe)(**pipe.components, add_watermarker=False))
    after = list(pipe.unet.parameters())
    assert len(after) == len(before)
    assert all(one is other for one, other in zip(before, after, strict=True))


def test_by_default_a_cpu_computes_as_diffusers_does():
    import torch

    pipe = prepared(build("sdxl"), Options(device="cpu"))
    assert torch.get_float32_matmul_precision() == "highest"
    assert not is_channels_last(pipe.unet)
    assert all(hasattr(part, "to_q") for part in pipe.unet.modules() if hasattr(part, "fuse_projections"))
    assert not speed.compiles(pipe)


def test_by_default_a_gpu_gets_what_costs_nothing():
    import torch

    pipe = prepared(build("sdxl"), Options(), device="cuda")
    assert torch.get_float32_matmul_precision() == "high"
    assert is_channels_last(pipe.unet)
    assert not any(hasattr(part, "to_qkv") for part in pipe.unet.modules())
    assert not speed.compiles(pipe)


def test_the_blocks_are_compiled_once_for_other_batches_and_sizes_too():
    import torch

    compiler, pipe = Compiler(), build("sdxl")
    plain = {(count, width): latents(pipe, count, width) for count, width in [(1, 64), (2, 64), (2, 96)]}
    prepared(pipe, backend=compiler)
    assert speed.compiles(pipe)
    np.testing.assert_allclose(latents(pipe), plain[1, 64], atol=ROUNDING)
    assert not speed.compiles(pipe)
    graphs = compiler.graphs
    assert graphs > 0
    for (count, width), expected in plain.items():
        np.testing.assert_allclose(latents(pipe, count, width), expected, atol=ROUNDING)
    assert compiler.graphs == graphs
    assert not torch._dynamo.utils.counters["graph_break"]


def test_both_experts_of_wan_are_compiled():
    import torch

    compiler, pipe = Compiler(), build("wan 2.2")
    plain = latents(pipe)
    prepared(pipe, backend=compiler)
    for expert in (pipe.transformer, pipe.transformer_2):
        assert all(block._compiled_call_impl is not None for block in expert.blocks)
    np.testing.assert_allclose(latents(pipe), plain, atol=ROUNDING)
    assert compiler.graphs > 0
    assert not torch._dynamo.utils.counters["graph_break"]


def test_the_engine_says_that_it_compiles_before_the_first_picture_and_not_again(monkeypatch):
    monkeypatch.setattr(speed, "prepare", partial(speed.prepare, backend=Compiler()))
    engine, slow = SdxlEngine("tiny", FAST), tiny_sdxl.load_tiny()

    def on_step(indexes, done, total, phase=Phase.step):
        told.append(phase)

    told: list[Phase] = []
    made = [tiny_sdxl.draw(engine, on_step=on_step)[0]]
    assert told.count(Phase.compile) == 1
    assert told.index(Phase.encode) < told.index(Phase.compile) < told.index(Phase.step)
    told.clear()
    made.append(tiny_sdxl.draw(engine, on_step=on_step)[0])
    assert Phase.compile not in told
    expected = tiny_sdxl.draw(slow)[0]
    assert all(tiny_sdxl.difference(each, expected) <= tiny_sdxl.ROUNDING for each in made)


@pytest.mark.parametrize("options", [{"lora_dir": "loras"}, {"offload": "group"}], ids=str)
def test_what_changes_the_layers_from_job_to_job_is_not_compiled(options):
    pipe = prepared(build("sdxl"), Options(speed="fast", **options), backend=Compiler())
    assert not speed.compiles(pipe)
    assert all(block._compiled_call_impl is None for block in pipe.unet.modules())
    fused = any(hasattr(part, "to_qkv") for part in pipe.unet.modules())
    assert fused == ("lora_dir" not in options)


def test_fast_on_a_gpu_says_what_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(EngineUnusableError, match=r"CONSUMER_SPEED is fast.*no C compiler"):
        prepared(build("sdxl"), Options(speed="fast"), device="cuda")


@pytest.mark.gpu
def test_a_gpu_compiles_and_draws_the_same():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    fast, plain = (SdxlEngine("tiny", Options(device="cuda", speed=kind)) for kind in ("fast", "default"))
    made, expected = (tiny_sdxl.draw(engine, [0, 1, 2]) for engine in (fast, plain))
    # In bfloat16, a sum in another order is another sum.
    assert all(np.abs(made[index].pixels.astype(int) - expected[index].pixels).mean() < 3 for index in range(3))
