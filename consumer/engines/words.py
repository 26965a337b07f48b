"""Prompts of SDXL as embeddings: of any length, with words weighted."""

from typing import Any

from consumer.request import Request


def encode(pipe: Any, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The prompts as keyword arguments of the pipeline, good for every batch of a job; and what metadata says of them.

    Call it within torch's no_grad, and free the pipeline's hooks afterwards."""
    names = [f"{sign}{kind}_embeds" for kind in ("prompt", "pooled_prompt") for sign in ("", "negative_")]
    embeddings = pipe.encode_prompt(
        request.prompt,
        # Without a text SDXL expects zeros, which an empty text does not give.
        negative_prompt=request.negative_prompt or None,
        do_classifier_free_guidance=request.guidance_scale > 1,
    )
    told = {}
    for field in ("prompt", "negative_prompt"):
        if _is_cut(pipe, getattr(request, field)):
            told[f"{field}_truncated"] = True
    return dict(zip(names, embeddings, strict=True)), told


def _is_cut(pipe: Any, text: str) -> bool:
    return any(len(each(text).input_ids) > each.model_max_length for each in (pipe.tokenizer, pipe.tokenizer_2))
