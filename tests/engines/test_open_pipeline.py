"""How a model is opened: the dtypes of its parts, the names of tiny ones, the class it was saved from."""

import pytest

from consumer.engines import checkpoint, diffusion, tiny, tiny_wan
from consumer.errors import EngineUnusableError
from single_file import save_single_file
from tiny_sdxl import MARKS

pytestmark = MARKS


def open_model(model, **changes):
    import torch

    kind = diffusion.import_diffusers().DiffusionPipeline
    asked = {"pipeline": kind, "tiny": tiny.build_sdxl, "dtype": torch.float32, "setting": "MODEL"}
    return checkpoint.open_pipeline(model=str(model), **(asked | changes))


def dtypes(part) -> set:
    return {weights.dtype for weights in part.parameters()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "wan"
    tiny_wan.build_wan().save_pretrained(place)
    return place


def test_a_vae_can_be_kept_in_float32_while_the_rest_is_not(folder):
    import torch

    pipe = open_model(folder, dtype=torch.bfloat16, vae_dtype=torch.float32)
    assert dtypes(pipe.vae) == {torch.float32}
    assert dtypes(pipe.text_encoder) == {torch.bfloat16}
    assert torch.bfloat16 in dtypes(pipe.transformer)


def test_weights_that_a_class_keeps_in_float32_stay_so(folder):
    import torch

    pipe = open_model(folder, dtype=torch.bfloat16)
    assert dtypes(pipe.transformer.condition_embedder.time_embedder) == {torch.float32}
    assert dtypes(pipe.transformer.blocks[0].attn1) == {torch.bfloat16}
    assert dtypes(pipe.vae) == {torch.bfloat16}


def test_a_tiny_model_has_the_dtypes_too():
    import torch

    pipe = open_model("tiny", dtype=torch.float16, vae_dtype=torch.float32)
    assert [dtypes(part) for part in (pipe.unet, pipe.text_encoder, pipe.vae)] == [
        {torch.float16},
        {torch.float16},
        {torch.float32},
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_single_file_is_opened_in_any_dtype(tmp_path, dtype):
    import torch
    from diffusers import StableDiffusionXLPipeline

    pipe, wanted = tiny.build_sdxl(), getattr(torch, dtype)
    pipe.save_pretrained(tmp_path)
    save_single_file(pipe, tmp_path / "model.safetensors")
    opened = open_model(tmp_path / "model.safetensors", pipeline=StableDiffusionXLPipeline, dtype=wanted)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        assert dtypes(getattr(opened, name)) == {wanted}
        expected = {key: weights.to(wanted) for key, weights in getattr(pipe, name).state_dict().items()}
        for key, weights in getattr(opened, name).state_dict().items():
            assert torch.equal(weights, expected[key])


def test_several_tiny_models_have_names_of_their_own():
    builders = {"tiny": lambda: pytest.fail("the wrong one"), "tiny-other": tiny.build_sdxl}
    assert type(open_model("tiny-other", tiny=builders)).__name__ == "StableDiffusionXLPipeline"
    with pytest.raises(EngineUnusableError, match=r"^The model tiny-unknown could not be loaded: there is no such"):
        open_model("tiny-unknown", tiny=builders)
