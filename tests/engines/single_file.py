"""Writes an SDXL pipeline as the single .safetensors file that model sites publish."""


def rename(key: str, names: dict[str, str]) -> str:
    for new, old in names.items():
        key = key.replace(new, old)
    return key


def unet_as_published(unet) -> dict:
    """The weights of a UNet under the names that single SDXL files use."""
    from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING

    layers = unet.config.layers_per_block
    table = DIFFUSERS_TO_LDM_MAPPING["unet"]
    names = {
        f"mid_block.{part}": f"middle_block.{i}" for i, part in enumerate(("resnets.0", "attentions.0", "resnets.1"))
    }
    for block in range(len(unet.down_blocks)):
        first = 1 + block * (layers + 1)
        for layer in range(layers):
            names[f"down_blocks.{block}.resnets.{layer}"] = f"input_blocks.{first + layer}.0"
            names[f"down_blocks.{block}.attentions.{layer}"] = f"input_blocks.{first + layer}.1"
        names[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{first + layers}.0.op"
    for block, part in enumerate(unet.up_blocks):
        first = block * (layers + 1)
        for layer in range(layers + 1):
            names[f"up_blocks.{block}.resnets.{layer}"] = f"output_blocks.{first + layer}.0"
            names[f"up_blocks.{block}.attentions.{layer}"] = f"output_blocks.{first + layer}.1"
        place = 2 if hasattr(part, "attentions") else 1
        names[f"up_blocks.{block}.upsamplers.0.conv"] = f"output_blocks.{first + layers}.{place}.conv"
    inside = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    whole = table["layers"] | table["addition_embed_type"]
    published = {}
    for key, value in unet.state_dict().items():
        name = whole.get(key) or rename(key, names | (inside if "resnets" in key else {}))
        published[f"model.diffusion_model.{name}"] = value
    return published


def vae_as_published(vae) -> dict:
    blocks = len(vae.config.block_out_channels)
    names = {"mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2"}
    names |= {
        "mid_block.attentions.0": "mid.attn_1",
        "conv_norm_out": "norm_out",
        "conv_shortcut": "nin_shortcut",
    }
    for block in range(blocks):
        names[f"down_blocks.{block}.downsamplers.0"] = f"down.{block}.downsample"
        names[f"down_blocks.{block}.resnets"] = f"down.{block}.block"
        names[f"up_blocks.{block}.upsamplers.0"] = f"up.{blocks - 1 - block}.upsample"
        names[f"up_blocks.{block}.resnets"] = f"up.{blocks - 1 - block}.block"
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    published = {}
    for key, value in vae.state_dict().items():
        in_attention = "attentions" in key
        name = rename(key, names | (attention if in_attention else {}))
        as_convolution = in_attention and value.ndim == 2
        published[f"first_stage_model.{name}"] = value[:, :, None, None] if as_convolution else value
    return published


def text_encoders_as_published(pipe) -> dict:
    import torch

    published = {
        f"conditioner.embedders.0.transformer.text_model.{key.removeprefix('text_model.')}": value
        for key, value in pipe.text_encoder.state_dict().items()
    }
    weights = pipe.text_encoder_2.state_dict()
    names = {
        "text_model.encoder.layers.": "transformer.resblocks.",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.embeddings.token_embedding": "token_embedding",
        "text_model.final_layer_norm": "ln_final",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
        "self_attn.q_proj.": "attn.in_proj_",
        "text_projection.weight": "text_projection",
    }
    weights["text_projection.weight"] = weights["text_projection.weight"].T
    for key, value in weights.items():
        if "k_proj" in key or "v_proj" in key:
            continue
        three = "q_proj" in key and torch.cat([weights[key.replace("q_proj", f"{part}_proj")] for part in "qkv"])
        published[f"conditioner.embedders.1.model.{rename(key, names)}"] = value if three is False else three
    return published


def save_single_file(pipe, path) -> None:
    from safetensors.torch import save_file

    weights = unet_as_published(pipe.unet) | vae_as_published(pipe.vae) | text_encoders_as_published(pipe)
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
