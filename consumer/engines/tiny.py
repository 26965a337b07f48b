"""The `tiny` model reference: a whole SDXL pipeline with small random weights, made in memory.

Every part is the class that real weights load into, so the code that runs is the code that runs in earnest;
only the pictures mean nothing. No file is read and no network is used.
"""
# ruff: noqa: PLC0415

from typing import Any

TOKENS = 77


def build_sdxl() -> Any:
    """A `StableDiffusionXLPipeline` in float32 on the CPU, the same weights in every process."""
    import diffusers
    import torch
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = _tokenizer()
    # Forked, because the engine must not reseed the generator that the rest of the process draws from.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return diffusers.StableDiffusionXLPipeline(
            vae=diffusers.AutoencoderKL(
                block_out_channels=(8, 8, 16, 16),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=1,
                latent_channels=4,
                norm_num_groups=4,
                sample_size=1024,
                scaling_factor=0.13025,
            ),
            text_encoder=CLIPTextModel(_text_config(width=32, vocabulary=len(tokenizer))),
            text_encoder_2=CLIPTextModelWithProjection(_text_config(width=48, vocabulary=len(tokenizer))),
            tokenizer=tokenizer,
            tokenizer_2=_tokenizer(filler="!"),
            unet=diffusers.UNet2DConditionModel(
                sample_size=128,
                block_out_channels=(16, 32, 64),
                down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
                attention_head_dim=(1, 2, 4),
                layers_per_block=1,
                norm_num_groups=8,
                cross_attention_dim=32 + 48,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=48 + 6 * 8,
            ),
            scheduler=diffusers.EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                timestep_spacing="leading",
            ),
            add_watermarker=False,
        )


def _text_config(*, width: int, vocabulary: int) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def _tokenizer(filler: str = "<|endoftext|>") -> Any:
    """One token per byte, at the end of a word or not: every text has its own tokens.

    As in SDXL, exclamation marks merge, but not for the second encoder: what fills up a text is never merged."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "!!</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[("!", "!</w>")], model_max_length=TOKENS, pad_token=filler)
