"""Models of full size with random weights, built where they are to work: nothing is fetched, and nothing is read.

What the pictures show means nothing; what they cost is what they cost with real weights. Only the tokenizers are
small, and WAN's text encoder, of which two layers of 24 are built: it runs once a video.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, UMT5Config, UMT5EncoderModel

from consumer.engines.tiny import build_sdxl as build_tiny_sdxl
from consumer.engines.tiny_wan import build_wan as build_tiny_wan


@contextmanager
def born(device: str, dtype: str) -> Iterator[None]:
    """Whatever is built within gets its weights there, in this dtype, and the same ones each time."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def build_sdxl(device: str, dtype: str) -> Any:
    """A `StableDiffusionXLPipeline` as stable-diffusion-xl-base-1.0 is configured: 3.5 billion weights."""
    small = build_tiny_sdxl()
    vocabulary = len(small.tokenizer)
    with born(device, dtype):
        unet = diffusers.UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20),
            transformer_layers_per_block=(1, 2, 10),
            layers_per_block=2,
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        vae = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=1024,
            scaling_factor=0.13025,
            force_upcast=True,
        )
        texts = [
            CLIPTextModel(_clip(vocabulary, 768, layers=12, heads=12, activation="quick_gelu")),
            CLIPTextModelWithProjection(_clip(vocabulary, 1280, layers=32, heads=20, activation="gelu")),
        ]
    return diffusers.StableDiffusionXLPipeline(
        vae=vae.eval(),
        text_encoder=texts[0].eval(),
        text_encoder_2=texts[1].eval(),
        tokenizer=small.tokenizer,
        tokenizer_2=small.tokenizer_2,
        unet=unet.eval(),
        scheduler=small.scheduler,
        add_watermarker=False,
    )


def _clip(vocabulary: int, width: int, *, layers: int, heads: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_act=activation,
        # Those of the small tokenizer, for the end of the text is found by its number.
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def build_wan(device: str, dtype: str) -> Any:
    """A `WanPipeline` as Wan2.1-T2V-1.3B is configured, its VAE in float32; 1.4 billion weights in the transformer."""
    small = build_tiny_wan()
    with born(device, dtype):
        transformer = diffusers.WanTransformer3DModel(
            num_attention_heads=12, attention_head_dim=128, text_dim=4096, ffn_dim=8960, num_layers=30
        )
        config = UMT5Config(
            vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=2, num_heads=64,
            feed_forward_proj="gated-gelu",
        )  # fmt: skip
        text_encoder = UMT5EncoderModel(config)
    with born(device, "float32"):
        vae = diffusers.AutoencoderKLWan()
    return diffusers.WanPipeline(
        tokenizer=small.tokenizer,
        text_encoder=text_encoder.eval(),
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=small.scheduler,
    )
