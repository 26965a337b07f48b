"""The `tiny` model references of WAN: whole pipelines with small random weights, made in memory.

Like tiny SDXL, every part is the class that real weights load into. There is one of each kind of model, because they
differ in what they can do: 2.1 and 2.2, from a text, from a first frame, and 2.2's small model, which does both.
"""
# ruff: noqa: PLC0415

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

TEXT, IMAGE = 16, 24
CHANNELS = 16


def build_wan(kind: str = "T2V", *, experts: int = 1, boundary: float | None = None, seed: int = 0) -> Any:
    """A pipeline in float32 on the CPU, the same weights in every process: `T2V`, `I2V`, or `FLF2V`, which needs the
    last frame too. With two experts, the first denoises down to `boundary`, 0..1."""
    import diffusers
    import torch

    starts, sees = kind != "T2V", kind != "T2V" and experts == 1
    # Forked, because the engine must not reseed the generator that the rest of the process draws from.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers = [
            _transformer(
                in_channels=2 * CHANNELS + 4 if starts else CHANNELS,
                image_dim=IMAGE if sees else None,
                # The places of two pictures: 2 x (4 x 4 patches and the one for all of it).
                pos_embed_seq_len=34 if kind == "FLF2V" else None,
            )
            for _ in range(experts)
        ]
        parts = {
            **_text_parts(),
            "vae": _vae(z_dim=CHANNELS),
            "scheduler": _scheduler(flow_shift=3.0),
            "transformer": transformers[0],
            "transformer_2": transformers[1] if experts == 2 else None,
            "boundary_ratio": boundary,
        }
        if not starts:
            return diffusers.WanPipeline(**parts)
        return diffusers.WanImageToVideoPipeline(**parts, **(_image_parts() if sees else {}))


def build_wan_5b() -> Any:
    """The same for 2.2's model of 5 billion weights: from a text or from a first frame, in patches of 32 pixels."""
    import diffusers
    import torch

    channels = 3 * CHANNELS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return diffusers.WanPipeline(
            **_text_parts(),
            vae=_vae(
                z_dim=channels,
                latents_mean=[0.0] * channels,
                latents_std=[1.0] * channels,
                is_residual=True,
                in_channels=12,
                out_channels=12,
                patch_size=2,
                scale_factor_spatial=16,
            ),
            scheduler=_scheduler(flow_shift=5.0),
            transformer=_transformer(in_channels=channels, out_channels=channels),
            expand_timesteps=True,
        )


BUILDERS: Mapping[str, Callable[[], Any]] = {
    "tiny": build_wan,
    "tiny-i2v": partial(build_wan, "I2V"),
    "tiny-flf2v": partial(build_wan, "FLF2V"),
    "tiny-2.2": partial(build_wan, experts=2, boundary=0.875),
    "tiny-2.2-i2v": partial(build_wan, "I2V", experts=2, boundary=0.9),
    "tiny-5b": build_wan_5b,
}


def _scheduler(flow_shift: float) -> Any:
    import diffusers

    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=flow_shift
    )


def _transformer(*, in_channels: int, out_channels: int = CHANNELS, **more: Any) -> Any:
    import diffusers
    import torch

    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=out_channels,
        text_dim=TEXT,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        added_kv_proj_dim=24 if more.get("image_dim") else None,
        **more,
    )
    # Weights as random as these hardly heed a prompt or a picture; louder, another one shows.
    with torch.no_grad():
        transformer.patch_embedding.weight[:, out_channels:].mul_(16)
        transformer.proj_out.weight.mul_(4)
        for block in transformer.blocks:
            block.attn2.to_v.weight.mul_(4)
            block.attn2.to_out[0].weight.mul_(4)
    return transformer


def _vae(**more: Any) -> Any:
    import diffusers
    import torch

    vae = diffusers.AutoencoderKLWan(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **more)
    # Without this, torch's own initial weights let the signal fade from layer to layer.
    with torch.no_grad():
        for part in vae.modules():
            if isinstance(part, torch.nn.Conv2d | torch.nn.Conv3d):
                part.weight.mul_(3**0.5)
    return vae


def _text_parts() -> dict[str, Any]:
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    # One token per letter: every text of the letters of Europe has its own.
    letters = [chr(code) for code in (*range(0x21, 0x250), 0x2581)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -1.0) for letter in letters)]
    config = UMT5Config(vocab_size=len(pieces), d_model=TEXT, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return {
        "tokenizer": T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[]),
        "text_encoder": UMT5EncoderModel(config).eval(),
    }


def _image_parts() -> dict[str, Any]:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=IMAGE, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    size = {"height": 32, "width": 32}
    return {
        "image_encoder": CLIPVisionModel(config).eval(),
        "image_processor": CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size),
    }
