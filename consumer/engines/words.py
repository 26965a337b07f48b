"""Prompts of SDXL as embeddings: of any length, with words weighted.

A weight is a number from 0 to 2, written `(word)1.2` or `(word:1.2)` in a prompt, or sent as `compel_weights`. Any
other parentheses, plus and minus signs are plain text, and so is everything where `compel_enabled` is false.
"""
# ruff: noqa: PLC0415

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from consumer.errors import RejectedError
from consumer.request import Request

if TYPE_CHECKING:
    import torch

Part = tuple[str, float]
"""A part of a text, and its weight. All parts of a text, joined, are the text without its weights."""

NUMBER = r"([01](?:\.\d{1,4})?|2(?:\.0{1,4})?)"
# After a digit and a colon it is a ratio or a time of day; before a letter it is the beginning of a word.
INLINE = re.compile(
    rf"(?<!\\)\((?:([^()\\]*[^()\\:\s\d])\s*:\s*{NUMBER}\)|(\s*+[^()\\\s][^()\\]*+)\){NUMBER}(?!\w|\.\d))"
)
# Each word that weighs less than 1 is one more run of the text encoders, in each piece of the text that has it.
MOST_WEIGHTED = 32


def check(request: Request) -> None:
    """Raise RejectedError for more weighted words than one prompt may have. Cheap."""
    _parts(request)


def encode(
    pipe: Any, request: Request, between: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The prompts as keyword arguments of the pipeline, good for every batch of a job; and what metadata says of them.

    A text that is long or weighted takes many runs of the text encoders: `between` is called before each, and may
    raise. Call it within torch's no_grad, and free the pipeline's hooks afterwards. Raises RejectedError."""
    prompt, negative = _parts(request)
    names = [f"{sign}{kind}_embeds" for kind in ("prompt", "pooled_prompt") for sign in ("", "negative_")]
    embeddings = pipe.encode_prompt(
        _text(prompt),
        # Without a text SDXL expects zeros, which an empty text does not give.
        negative_prompt=_text(negative) or None,
        do_classifier_free_guidance=request.guidance_scale > 1,
    )
    encoded = dict(zip(names, embeddings, strict=True))
    told: dict[str, Any] = {}
    for field, parts in (("prompt", prompt), ("negative_prompt", negative)):
        plain = encoded[f"{field}_embeds"]
        tokens, weighted = _tokens(pipe, parts), _weighted(parts)
        if plain is None or (tokens <= _room(pipe) and not weighted):
            continue
        encoded[f"{field}_embeds"] = _encode(pipe, parts, between)
        told |= {f"{field}_tokens": tokens, f"{field}_weights": weighted}
    _even_out(pipe, encoded, _text(negative))
    return encoded, told


def weigh(text: str, weights: Sequence[Part] = ()) -> list[Part]:
    """The parts of `text`, weighted as is written in it; `weights` are for further words, whole ones in any case.

    Such a word is appended where the text does not have it."""
    parts = _split(text, INLINE, lambda match: (match[1] or match[3], float(match[2] or match[4])))
    # The longest first, so that `soft light` is found before `light`.
    for word, weight in sorted(weights, key=lambda part: -len(part[0])):
        whole = re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, word.split())) + r"(?!\w)", re.IGNORECASE)
        if whole.search(_text(parts)):
            parts = _weigh_word(parts, whole, weight)
        else:
            parts += [(", " if _text(parts) else "", 1.0), (word, weight)]
    return [part for part in parts if part[0]]


def _weigh_word(parts: Sequence[Part], word: re.Pattern[str], weight: float) -> list[Part]:
    # A weight that is written in the text goes before one that was sent beside it.
    found = (_split(part[0], word, lambda match: (match[0], weight)) if part[1] == 1 else [part] for part in parts)
    return [part for each in found for part in each]


def _split(text: str, pattern: re.Pattern[str], weighted: Callable[[re.Match[str]], Part]) -> list[Part]:
    parts, end = [], 0
    for match in pattern.finditer(text):
        parts += [(text[end : match.start()], 1.0), weighted(match)]
        end = match.end()
    return [*parts, (text[end:], 1.0)]


def _parts(request: Request) -> tuple[list[Part], list[Part]]:
    """The parts of the prompt and of the negative prompt."""
    if request.compel_enabled is False:
        return [(request.prompt, 1.0)], [(request.negative_prompt, 1.0)]
    both = weigh(request.prompt, request.compel_weights), weigh(request.negative_prompt)
    for field, parts in zip(("prompt", "negative_prompt"), both, strict=True):
        if _weighted(parts) > MOST_WEIGHTED:
            raise RejectedError(f"{field} must have at most {MOST_WEIGHTED} weighted words.")
    return both


def _text(parts: Sequence[Part]) -> str:
    return "".join(text for text, _ in parts)


def _weighted(parts: Sequence[Part]) -> int:
    return sum(weight != 1 for _, weight in parts)


def _room(pipe: Any) -> int:
    """How many tokens a text encoder takes at once, besides those that begin and end a text."""
    return int(pipe.tokenizer.model_max_length) - 2


def _tokens(pipe: Any, parts: Sequence[Part]) -> int:
    return max(len(each(_text(parts)).input_ids) for each in (pipe.tokenizer, pipe.tokenizer_2)) - 2


def _encode(pipe: Any, parts: Sequence[Part], between: Callable[[], None]) -> "torch.Tensor":
    """The embeddings (1, tokens, width) of a text that is encoded in pieces, cut between phrases, and weighted."""
    import torch
    from compel.embeddings_provider import EmbeddingsProvider, ReturnedEmbeddingsType, SplitLongTextMode

    # Not through compel's own parser: it reads signs and parentheses, and what it cannot read it quotes in errors.
    device = pipe._execution_device
    encoders = (pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)
    providers = [
        EmbeddingsProvider(
            tokenizer,
            encoder,
            truncate=False,
            returned_embeddings_type=ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED,
            split_long_text_mode=SplitLongTextMode.PHRASES,
            device=device,
        )
        for tokenizer, encoder in encoders
    ]
    # One encoder after the other: where a model is offloaded, each change of encoder moves them.
    halves = [_pieces(provider, parts, device, between) for provider in providers]
    # Each exclamation mark is a token to SDXL's second encoder, and many at once are one to the first: it may need
    # fewer pieces.
    longest = max(map(len, halves))
    for provider, half in zip(providers, halves, strict=True):
        while len(half) < longest:
            half.append(provider.empty_z.to(device))
    return torch.cat([torch.cat(half, dim=1) for half in halves], dim=-1)


def _pieces(provider: Any, parts: Sequence[Part], device: Any, between: Callable[[], None]) -> "list[torch.Tensor]":
    """The embeddings (1, 77, width) of each piece of a text, with the weights of the words that are in it.

    Weights mean what they mean in compel, whose own loop encodes all pieces again for each word that weighs less."""
    import torch

    # compel gives each token what its text weighs, and those that begin, end and fill up a piece a 1. Here a text
    # weighs its number, from 2, so that each token says whose it is.
    numbers = [float(number) for number in range(2, len(parts) + 2)]
    tokens, owners, _ = provider.get_token_ids_and_expand_weights([text for text, _ in parts], numbers, device=device)
    weights = [1.0, 1.0, *(weight for _, weight in parts)]
    as_tensor = torch.tensor(weights, dtype=torch.float32, device=device)

    def run(piece: "torch.Tensor", owner: "torch.Tensor", without: int) -> "torch.Tensor":
        between()
        mask = (owner != without).long()
        found: torch.Tensor = provider.build_weighted_embedding_tensor(piece, as_tensor[owner], mask, device=device)
        return found

    pieces = []
    size = provider.max_token_count
    for piece, owner in zip(tokens.split(size), owners.long().split(size), strict=True):
        less = [number for number in owner.unique().tolist() if weights[number] < 1]
        runs = torch.stack([run(piece, owner, without) for without in (0, *less)], dim=1)
        # The less a word weighs the more counts what the piece is without it: as much at 0.5, and all but alone at 0.
        shares = [1.0, *(math.tan((1 - max(weights[number], 1e-5)) * math.pi / 2) for number in less)]
        mixed = provider.apply_embedding_weights(runs, shares, normalize=True)
        pieces.append(mixed.to(device, provider.text_encoder.dtype))
    return pieces


def _even_out(pipe: Any, encoded: dict[str, Any], negative: str) -> None:
    """Make both embeddings as long as the longer ones, with pieces of no text."""
    import torch

    names = [name for name in ("prompt_embeds", "negative_prompt_embeds") if encoded[name] is not None]
    longest = max(encoded[name].shape[1] for name in names)
    if all(encoded[name].shape[1] == longest for name in names):
        return
    for name, nothing in zip(names, pipe.encode_prompt("", negative_prompt="" if negative else None), strict=False):
        missing = (longest - encoded[name].shape[1]) // nothing.shape[1]
        encoded[name] = torch.cat([encoded[name], *[nothing] * missing], dim=1)
