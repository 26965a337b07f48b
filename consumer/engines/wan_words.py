"""Prompts of WAN as embeddings."""

from typing import Any

from consumer.request import Request

TOKENS = 512


def encode(pipe: Any, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The prompts as keyword arguments of the pipeline, (1, 512, width) each; and what metadata says of them.

    Call it within torch's no_grad, and free the pipeline's hooks afterwards."""
    texts = {"prompt": request.prompt}
    if request.guidance_scale > 1:
        texts["negative_prompt"] = request.negative_prompt
    embeddings = pipe.encode_prompt(
        request.prompt,
        request.negative_prompt,
        do_classifier_free_guidance="negative_prompt" in texts,
        max_sequence_length=TOKENS,
    )
    told = {f"{field}_truncated": True for field, text in texts.items() if len(pipe.tokenizer(text).input_ids) > TOKENS}
    return {f"{field}_embeds": one for field, one in zip(texts, embeddings, strict=False)}, told
