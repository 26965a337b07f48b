"""Models that are published in float16 alone, or beside float32, and which of the two is fetched and read."""

import shutil

import pytest

from consumer.engines import checkpoint, diffusion, tiny, tiny_wan
from consumer.errors import EngineUnusableError
from tiny_sdxl import MARKS

pytestmark = MARKS

PLAIN = 0.25
FP16 = 0.75


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folders of one model whose UNet's last bias tells which weights were read: `plain`, `fp16` alone, and `both`."""
    import torch

    place, pipe = tmp_path_factory.mktemp("models"), tiny.build_sdxl()
    for value, variant, names in ((PLAIN, None, ("plain", "both")), (FP16, "fp16", ("fp16", "both"))):
        pipe.unet.conv_out.bias.data.fill_(value)
        for name in names:
            pipe.save_pretrained(place / name, variant=variant)
    # As many are: what is small has no variant.
    shutil.copytree(place / "fp16", place / "mixed")
    for file in (place / "mixed" / "vae").glob("*.safetensors"):
        file.rename(file.with_name("diffusion_pytorch_model.safetensors"))
    assert torch.tensor([PLAIN, FP16]).half().tolist() == [PLAIN, FP16]
    return place


def open_model(model, dtype, kind=None):
    import torch

    kind = kind or diffusion.import_diffusers().StableDiffusionXLPipeline
    asked = {"tiny": tiny.build_sdxl, "dtype": getattr(torch, dtype), "setting": "MODEL"}
    return checkpoint.open_pipeline(kind, str(model), **asked)


def read(pipe, dtype):
    """Which weights these are."""
    assert str(pipe.unet.dtype) == str(pipe.vae.dtype) == f"torch.{dtype}"
    return pipe.unet.conv_out.bias[0].item()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("name", "expected"), [("plain", PLAIN), ("fp16", FP16), ("both", PLAIN), ("mixed", FP16)])
def test_a_folder_is_read_in_float16_where_it_holds_nothing_else(published, name, expected, dtype):
    assert read(open_model(published / name, dtype), dtype) == expected


def test_weights_in_several_files_are_known_by_their_variant_too(tmp_path):
    pipe = tiny_wan.build_wan()
    pipe.save_pretrained(tmp_path, variant="fp16", max_shard_size="20KB")
    shards = [file.name for file in (tmp_path / "transformer").glob("*.safetensors")]
    assert len(shards) > 1
    assert all(".fp16-" in name for name in shards)
    opened = open_model(tmp_path, "float32", diffusion.import_diffusers().DiffusionPipeline)
    assert opened.transformer.proj_out.weight.equal(pipe.transformer.proj_out.weight)


class Hub:
    """A hub with one model, of which `cache` holds what was fetched: first its index alone."""

    def __init__(self, monkeypatch, model, cache):
        import huggingface_hub

        self.model, self.cache, self.lists = model, cache, True
        cache.mkdir()
        shutil.copy(model / "model_index.json", cache)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda _, file: str(cache / file))
        monkeypatch.setattr(huggingface_hub, "list_repo_files", self.names)

    def names(self, _):
        if not self.lists:
            raise OSError
        return [str(path.relative_to(self.model)) for path in self.model.rglob("*") if path.is_file()]

    def pipeline(self):
        """A pipeline of diffusers that fetches from here, what it would fetch from the real one."""
        from diffusers.pipelines.pipeline_loading_utils import variant_compatible_siblings

        hub = self

        class Pipeline(diffusion.import_diffusers().StableDiffusionXLPipeline):
            @classmethod
            def download(cls, _, variant=None, **options):
                assert options["use_safetensors"]
                # Raises ValueError for a variant that is not there.
                weights, _ = variant_compatible_siblings(hub.names(_) if hub.lists else hub.here(), variant=variant)
                for path in hub.model.rglob("*"):
                    name = path.relative_to(hub.model)
                    if path.is_file() and (path.suffix != ".safetensors" or str(name) in weights):
                        (hub.cache / name).parent.mkdir(exist_ok=True)
                        shutil.copy(path, hub.cache / name)
                return str(hub.cache)

        return Pipeline

    def here(self):
        return [str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if path.is_file()]

    def fetched(self):
        return {"fp16" if ".fp16" in name else "plain" for name in self.here() if name.startswith("unet/diff")}


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("plain", "float32", PLAIN),
        ("plain", "bfloat16", PLAIN),
        ("fp16", "float32", FP16),
        ("fp16", "float16", FP16),
        ("both", "float32", PLAIN),
        ("both", "float16", FP16),
        ("both", "bfloat16", FP16),
        ("mixed", "bfloat16", FP16),
    ],
)
def test_of_a_model_on_the_hub_only_what_is_read_is_fetched(published, tmp_path, monkeypatch, name, dtype, expected):
    hub = Hub(monkeypatch, published / name, tmp_path / "cache")
    assert read(open_model("maker/model", dtype, hub.pipeline()), dtype) == expected
    assert hub.fetched() == {"fp16" if expected == FP16 else "plain"}
    # What is here decides from now on, with or without the hub.
    hub.lists = False
    assert read(open_model("maker/model", dtype, hub.pipeline()), dtype) == expected


def test_what_was_fetched_before_is_not_fetched_again_in_another_precision(published, tmp_path, monkeypatch):
    hub = Hub(monkeypatch, published / "both", tmp_path / "cache")
    open_model("maker/model", "float32", hub.pipeline())
    assert read(open_model("maker/model", "bfloat16", hub.pipeline()), "bfloat16") == PLAIN


def test_a_model_out_of_reach_of_which_nothing_is_here_is_refused_in_a_sentence(published, tmp_path, monkeypatch):
    hub = Hub(monkeypatch, published / "both", tmp_path / "cache")
    hub.lists = False
    with pytest.raises(EngineUnusableError, match=r"^The model maker/model could not be loaded: "):
        open_model("maker/model", "float32", hub.pipeline())
