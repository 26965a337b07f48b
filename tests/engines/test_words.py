"""Prompts of any length with weighted words, against plain diffusers, compel's own way, and arithmetic."""

import logging
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.engines import diffusion, words
from consumer.engines.base import Phase
from consumer.engines.tiny import build_sdxl
from consumer.errors import JobCancelledError, RejectedError
from tiny_sdxl import MARKS, ROUNDING, difference, draw, load_tiny, make_request, pipe_of

pytestmark = MARKS

PIECE = 77
LONG = "x" * 73 + ","
"""74 tokens: with another word it does not fit into the 75 of a piece, and is cut after the comma."""


@pytest.fixture(scope="module")
def pipe():
    import torch

    torch.set_num_threads(1)
    diffusion.import_diffusers()
    return build_sdxl()


def encode(pipe, prompt="a cat on a mat", **changes):
    import torch

    with torch.no_grad():
        return words.encode(pipe, make_request(prompt=prompt, **changes))


def embeddings(pipe, prompt, **changes):
    """(1, tokens, width)"""
    return encode(pipe, prompt, **changes)[0]["prompt_embeds"]


def plain(pipe, prompt, negative=None, *, guided=True):
    """What diffusers makes of short texts."""
    import torch

    with torch.no_grad():
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        found = pipe.encode_prompt(prompt, negative_prompt=negative, do_classifier_free_guidance=guided)
        return dict(zip(names, found, strict=True))


def same(one, other):
    import torch

    assert one.keys() == other.keys()
    return all(one[key] is other[key] or torch.equal(one[key], other[key]) for key in one)


ORDINARY = [
    "a cat on a mat",
    "C++ (and C--) code+, a cat++ dog-- (in the rain) [very] {old} \"x\".swap(y) ('a', 'b').blend(1, 2).and()",
    "at (10:30), a screen of (16:9), a lens (50mm 1:1.4), (1985), (cat)3.5, (cat)1.2.3, (cat)1st, (cat:9), (fate)2nd",
    r"\(cat:1.2\) \(cat\)1.2 (cat:x) (cat)",
    "()1.2 ( )0.5 (:1.2) ((",
]


@pytest.mark.parametrize("prompt", ORDINARY)
@pytest.mark.parametrize(("negative", "guidance"), [("", 7.0), ("(blurry), c++", 7.0), ("blurry", 1.0)])
def test_a_short_text_without_weights_is_encoded_by_diffusers_as_it_is(pipe, prompt, negative, guidance):
    prompt = prompt[:75]
    encoded, told = encode(pipe, prompt, negative_prompt=negative, guidance_scale=guidance)
    assert same(encoded, plain(pipe, prompt, negative or None, guided=guidance > 1))
    assert told == {}


# Long texts.


def test_a_long_text_is_encoded_in_pieces_that_end_with_a_phrase(pipe):
    import torch

    encoded, told = encode(pipe, f"{LONG} yellow house, {LONG} a cat")
    pieces = [LONG, "yellow house,", LONG, "a cat"]
    expected = torch.cat([plain(pipe, piece)["prompt_embeds"] for piece in pieces], dim=1)
    assert torch.equal(encoded["prompt_embeds"], expected)
    # What stands for the whole text comes from its beginning.
    assert torch.equal(encoded["pooled_prompt_embeds"], plain(pipe, f"{LONG} yz")["pooled_prompt_embeds"])
    assert told == {"prompt_tokens": 74 + 12 + 74 + 4, "prompt_weights": 0}


def test_a_text_without_phrases_or_words_is_cut_where_it_must_be(pipe):
    import torch

    found = embeddings(pipe, "x" * 200)
    assert found.shape[1] == 3 * PIECE
    assert torch.equal(found[:, :75], plain(pipe, "x" * 100)["prompt_embeds"][:, :75])


def test_the_longest_prompt_is_encoded_to_its_end(pipe):
    import torch

    one, other = (embeddings(pipe, f"{'word ' * 799}{end}") for end in ("fish", "bird"))
    assert one.shape == other.shape
    assert torch.equal(one[:, :-PIECE], other[:, :-PIECE])
    assert not torch.equal(one[:, -PIECE:], other[:, -PIECE:])


@pytest.mark.parametrize(
    ("prompt", "negative", "pieces", "long"),
    [
        (f"{LONG} {LONG} cat", "blurry", 3, "prompt"),
        (f"{LONG} cat", "", 2, "prompt"),
        ("cat", f"{LONG} {LONG} blurry", 3, "negative_prompt"),
        (f"{LONG} cat", f"{LONG} {LONG} blurry", 3, "negative_prompt"),
    ],
)
def test_the_shorter_of_prompt_and_negative_is_filled_up_with_nothing(pipe, prompt, negative, pieces, long):
    import torch

    encoded, _ = encode(pipe, prompt, negative_prompt=negative)
    assert encoded["prompt_embeds"].shape[1] == encoded["negative_prompt_embeds"].shape[1] == pieces * PIECE
    short = "negative_prompt" if long == "prompt" else "prompt"
    last = encoded[f"{short}_embeds"][:, -PIECE:]
    expected = plain(pipe, "")["prompt_embeds"] if short == "prompt" or negative else torch.zeros_like(last)
    assert torch.equal(last, expected)
    # And the beginning is its own.
    first = plain(pipe, {"prompt": prompt, "negative_prompt": negative}[short].split(" ")[0])["prompt_embeds"]
    assert torch.equal(encoded[f"{short}_embeds"][:, :PIECE], first if negative else torch.zeros_like(first))


def test_without_guidance_there_is_no_negative_however_long_it_is(pipe):
    encoded, told = encode(pipe, "cat", negative_prompt=f"{LONG} (blurry)1.2", guidance_scale=1.0)
    assert same(encoded, plain(pipe, "cat", guided=False))
    assert told == {}


def test_where_one_encoder_needs_fewer_pieces_it_is_filled_up_with_nothing(pipe):
    import torch

    long, short = f"{'x' * 70} !! ,", "cat"
    # Two marks at once are one token less to the first encoder, for which all fits into one piece.
    tokens = [len(tokenizer(f"{long} {short}").input_ids) for tokenizer in (pipe.tokenizer, pipe.tokenizer_2)]
    assert tokens == [PIECE, PIECE + 1]
    pieces = [f"{long} {short}", ""], [long, short]
    first, second = (torch.cat([plain(pipe, piece)["prompt_embeds"] for piece in half], dim=1) for half in pieces)
    width = pipe.text_encoder.config.hidden_size
    encoded, told = encode(pipe, f"{long} {short}", negative_prompt="(wow!!!)0.5")
    assert torch.equal(encoded["prompt_embeds"], torch.cat([first[..., :width], second[..., width:]], dim=-1))
    assert encoded["negative_prompt_embeds"].shape == encoded["prompt_embeds"].shape
    assert told["prompt_tokens"] == tokens[1] - 2


def test_a_word_beyond_77_tokens_changes_the_picture_and_so_does_one_in_the_negative():
    engine = load_tiny()
    cat, blurry = "x" * 80 + " cat" * 20, "x" * 80 + " blurry" * 20
    first = draw(engine, prompt=cat, negative_prompt=blurry)[0]
    for changes in ({"prompt": cat.replace("cat", "dog")}, {"negative_prompt": blurry.replace("blurry", "narrow")}):
        other = draw(engine, **{"prompt": cat, "negative_prompt": blurry, **changes})[0]
        assert difference(first, other) > 2 * ROUNDING
    assert first.metadata["prompt_tokens"] == 80 + 20 * 3
    assert first.metadata["negative_prompt_tokens"] == 80 + 20 * 6


# Weights.


def test_a_weight_moves_a_words_embeddings_away_from_those_of_nothing(pipe):
    import torch

    found, normal, nothing = (
        embeddings(pipe, "a (cat)1.4 on a mat"),
        *(plain(pipe, text)["prompt_embeds"] for text in ("a cat on a mat", "")),
    )
    # The beginning of the text, `a`, and the three letters of the cat.
    expected = normal.clone()
    expected[:, 2:5] = nothing[:, 2:5] + 1.4 * (normal[:, 2:5] - nothing[:, 2:5])
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, normal, atol=1e-2)


def test_a_word_of_no_weight_might_be_another_one_and_half_a_weight_is_between(pipe):
    cat, dog = (plain(pipe, f"a {word} on a mat")["prompt_embeds"] for word in ("cat", "dog"))
    without, other = (embeddings(pipe, f"a ({word})0 on a mat") for word in ("cat", "dog"))
    assert (cat - dog).abs().max() > 0.1
    assert (without - other).abs().max() < 1e-3
    distances = [
        (embeddings(pipe, f"a (cat){weight} on a mat") - without).abs().mean() for weight in (0, 0.2, 0.5, 0.8, 1)
    ]
    assert distances == sorted(distances)
    assert distances[0] == 0 < distances[1]


@pytest.mark.parametrize("text", ["a (cat)1.4 on a mat", "a (cat)0.6 on a (red mat)1.2, (fog)0.3 and (rain)1.5"])
def test_weights_mean_what_they_mean_in_compel(pipe, text):
    import torch
    from compel import CompelForSDXL

    other = CompelForSDXL(pipe)(text, negative_prompt="(blurry)1.3")
    encoded, _ = encode(pipe, text, negative_prompt="(blurry)1.3")
    assert torch.allclose(encoded["prompt_embeds"], other.embeds, atol=1e-5)
    assert torch.allclose(encoded["negative_prompt_embeds"], other.negative_embeds, atol=1e-5)


def test_all_ways_to_write_a_weight_are_the_same(pipe):
    expected, told = encode(pipe, "a (cat)1.4 on a mat")
    assert told == {"prompt_tokens": 10, "prompt_weights": 1}
    for prompt, changes in (
        ("a (cat:1.4) on a mat", {}),
        ("a cat on a mat", {"compel_weights": [("cat", 1.4)]}),
        ("a cat on a mat", {"compel_weights": [("cat", 1.4)], "compel_enabled": True}),
        ("a (cat)1.4 on a mat", {"compel_weights": [("cat", 0.3)]}),
    ):
        encoded, said = encode(pipe, prompt, **changes)
        assert same(encoded, expected)
        assert said == told
    # The weights themselves are no part of the text.
    assert same({"x": expected["pooled_prompt_embeds"]}, {"x": plain(pipe, "a cat on a mat")["pooled_prompt_embeds"]})


@pytest.mark.parametrize("prompt", ["a (cat)1 on a mat", "a (cat:1.0) on a mat"])
def test_a_weight_of_one_is_none(pipe, prompt):
    encoded, told = encode(pipe, prompt, compel_weights=[("mat", 1.0)])
    assert same(encoded, plain(pipe, "a cat on a mat"))
    assert told == {}


@pytest.mark.parametrize("prompt", ["a (cat)1.4 on a mat", "a (cat:1.4) on a mat"])
def test_compel_enabled_false_turns_all_weights_off(pipe, prompt):
    encoded, told = encode(
        pipe, prompt, negative_prompt="(fog)1.2", compel_enabled=False, compel_weights=[("mat", 1.4)]
    )
    assert same(encoded, plain(pipe, prompt, "(fog)1.2"))
    assert told == {}


def test_a_weight_changes_the_picture_more_the_further_it_is_from_one():
    engine = load_tiny()
    normal = draw(engine)[0]
    little, much = (draw(engine, compel_weights=[("cat", weight)])[0] for weight in (1.2, 2.0))
    assert 0 < difference(normal, little) < difference(normal, much)
    assert much.metadata["prompt_weights"] == 1
    assert "prompt_weights" not in normal.metadata


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        (f"{LONG} a (cat)1.4, {LONG} a cat", [LONG, "a (cat)1.4,", LONG, "a cat"]),
        (f"a (cat)0.6 , {LONG} a (cat)0.2 (dog)0.7 (fog)1.4", ["a (cat)0.6 ,", LONG, "a (cat)0.2 (dog)0.7 (fog)1.4"]),
        (f"a ({LONG} cat)0.5 dog", [f"a ({LONG})0.5", "(cat)0.5 dog"]),
    ],
)
def test_a_word_is_weighed_within_its_own_pieces(pipe, prompt, pieces):
    import torch

    expected = torch.cat([embeddings(pipe, piece) for piece in pieces], dim=1)
    assert torch.allclose(embeddings(pipe, prompt), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_embeddings_have_the_type_of_the_model(dtype):
    import torch

    half = build_sdxl().to(getattr(torch, dtype))
    encoded, _ = encode(half, f"{LONG} a (cat)1.4 on a (mat)0.5", negative_prompt="blurry")
    assert {each.dtype for each in encoded.values()} == {getattr(torch, dtype)}
    assert all(torch.isfinite(each).all() for each in encoded.values())


def test_a_model_that_is_offloaded_layer_by_layer_encodes_the_same():
    import torch

    from consumer.engines import offload

    texts = {"prompt": f"{LONG} a (cat)1.4 on a (mat)0.5", "negative_prompt": "blurry"}
    offloaded = build_sdxl()
    expected, _ = encode(offloaded, **texts)
    offload.bring(offloaded, offload.Offload.group, torch.device("cpu"))
    for _ in range(2):
        found, _ = encode(offloaded, **texts)
        assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.gpu
@pytest.mark.parametrize("way", ["none", "model", "group"])
def test_on_a_gpu_embeddings_are_there_however_the_model_is_offloaded(way):
    import torch

    from consumer.engines import offload

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    texts = {"prompt": f"{LONG} a (cat)1.4 on a (mat)0.5", "negative_prompt": "blurry"}
    placed = build_sdxl()
    expected, _ = encode(placed, **texts)
    offload.bring(placed, offload.Offload(way), torch.device("cuda", 0))
    for _ in range(2):
        found, _ = encode(placed, **texts)
        placed.maybe_free_model_hooks()
        assert {each.device.type for each in found.values()} == {"cuda"}
        assert all(torch.allclose(found[name].cpu(), expected[name], atol=1e-2) for name in expected)


# How long it takes.

MOST = "".join(f"(w{number})0.5 " for number in range(32)) + "cat, " * 600
"""As many weights as there may be, with many pieces."""


@pytest.fixture
def runs(pipe, monkeypatch):
    """How often each text encoder has run."""
    counts = {}

    def count(name):
        forward, counts[name] = getattr(pipe, name).forward, 0

        def counting(*args, **kwargs):
            counts[name] += 1
            return forward(*args, **kwargs)

        monkeypatch.setattr(getattr(pipe, name), "forward", counting)

    count("text_encoder")
    count("text_encoder_2")
    return counts


@pytest.mark.parametrize(("prompt", "weights"), [(MOST, 32), (f"({'x' * 2000})0.5", 1), ("cat, " * 600, 0)])
def test_the_encoders_run_once_for_each_piece_and_each_word_that_weighs_less(pipe, runs, prompt, weights):
    pieces = embeddings(pipe, prompt, guidance_scale=1.0).shape[1] // PIECE
    assert pieces >= 2000 // PIECE
    # A word that is cut counts in both pieces; diffusers encodes the beginning; and nothing is encoded once.
    at_most = pieces + weights + (pieces - 1) + 1 + 1
    assert pieces + weights < min(runs.values()) <= max(runs.values()) <= at_most


def test_it_can_be_stopped_before_each_run_of_an_encoder(pipe, runs):
    asked = []

    def ask(stop):
        asked.append(sum(runs.values()))
        if len(asked) == stop:
            raise JobCancelledError("The job was cancelled.")

    request = make_request(prompt=f"{LONG} a (cat)0.5 on a (mat)1.2, {LONG} cat")
    words.encode(pipe, request, lambda: ask(0))
    # Two encoders; four pieces, one of them also without the cat. Only nothing is encoded unasked.
    assert len(asked) == 2 * (4 + 1)
    assert all(after - before <= 2 for before, after in pairwise(asked))
    for stop in range(1, len(asked) + 1):
        asked.clear()
        with pytest.raises(JobCancelledError):
            words.encode(pipe, request, lambda stop=stop: ask(stop))
        assert asked[-1] == sum(runs.values())


def test_a_job_is_cancelled_between_two_pieces_and_the_next_one_is_unharmed():
    engine = load_tiny()
    before, asked = draw(engine)[0], []

    def on_step(indexes, done, total, phase=Phase.step):
        asked.append((list(indexes), done, total, phase))
        if len(asked) == 4:
            raise JobCancelledError("The job was cancelled.")

    resets, pipe = [], pipe_of(engine)
    pipe.maybe_free_model_hooks = lambda: resets.append(len(asked))
    with pytest.raises(JobCancelledError):
        draw(engine, [0, 1], on_step, prompt=f"{LONG} {LONG} {LONG} cat")
    assert asked == [([0, 1], 0, 3, Phase.load), *[([0, 1], 0, 3, Phase.encode)] * 3]
    assert resets == [4]
    assert difference(draw(engine)[0], before) <= ROUNDING


# How a text is read.


@pytest.mark.parametrize(
    ("text", "weights", "parts"),
    [
        ("a (big cat)1.25 here", (), [("a ", 1), ("big cat", 1.25), (" here", 1)]),
        ("(cat: 0.5), (dog :2)", (), [("cat", 0.5), (", ", 1), ("dog", 2)]),
        ("(cat)1.2,(dog)0", (), [("cat", 1.2), (",", 1), ("dog", 0)]),
        ("((cat)1.2 dog)", (), [("(", 1), ("cat", 1.2), (" dog)", 1)]),
        ("a Cat, cats, a cat", [("cat", 1.2)], [("a ", 1), ("Cat", 1.2), (", cats, a ", 1), ("cat", 1.2)]),
        (
            "Soft  light, light",
            [("light", 0.5), ("soft light", 1.5)],
            [("Soft  light", 1.5), (", ", 1), ("light", 0.5)],
        ),
        ("a cat", [("fog", 1.2), ("cat", 0.5)], [("a ", 1), ("cat", 0.5), (", ", 1), ("fog", 1.2)]),
        ("", [("fog", 1.2)], [("fog", 1.2)]),
        ("c++ code", [("c++", 1.2)], [("c++", 1.2), (" code", 1)]),
        ("über", [("ÜBER", 1.2)], [("über", 1.2)]),
        ("", (), []),
    ],
)
def test_a_text_is_read_in_parts(text, weights, parts):
    assert words.weigh(text, weights) == parts


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_signs_are_plain_text(text):
    assert words.weigh(text) == [(text, 1)]


def test_too_many_weighted_words_are_refused_before_anything_loads():
    words.check(make_request(prompt="(cat)1.1 " * 32))
    words.check(make_request(prompt="(cat)1.1 " * 100, compel_enabled=False))
    for field in ("prompt", "negative_prompt"):
        with pytest.raises(RejectedError, match=rf"^{field} must have at most 32 weighted words\.$"):
            words.check(make_request(**{field: "(cat)1.1 " * 33}))


TEXTS = st.text(st.sampled_from("(((())))::..0125 aA!,+-\\\u00a0\u200b\u0301\x1c😀<|>"), max_size=60)
SPECIAL = st.sampled_from(["<|endoftext|>", "(<|startoftext|>)0.5", "(!)0.5", "(.)1.5", "(\u200b)0.1", "(cat)0.5 "])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS | SPECIAL, max_size=8).map("".join), st.lists(TEXTS | SPECIAL, max_size=2).map("".join))
def test_any_text_can_be_encoded(pipe, prompt, negative):
    import torch

    encoded, _ = encode(pipe, prompt, negative_prompt=negative)
    assert encoded["prompt_embeds"].shape == encoded["negative_prompt_embeds"].shape
    assert torch.isfinite(encoded["prompt_embeds"]).all()


PUNCTUATION = st.sampled_from(["!", "!!", "!!! ", "wow!!!", "?!", ", ", ".", " ", "x" * 9, "(!!)0.5", "(a!!)1.3", "…"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(*[st.lists(PUNCTUATION, max_size=60).map("".join)] * 2)
def test_any_punctuation_can_be_encoded(pipe, prompt, negative):
    import torch

    encoded, told = encode(pipe, prompt, negative_prompt=negative)
    both = encoded["prompt_embeds"], encoded["negative_prompt_embeds"]
    assert both[0].shape == both[1].shape
    assert both[0].shape[1] % PIECE == 0
    assert both[0].shape[1] > max(told.get(f"{field}_tokens", 0) for field in ("prompt", "negative_prompt"))
    assert all(torch.isfinite(each).all() for each in both)


def test_no_text_reaches_a_log(pipe, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers", "compel")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        secret = f"{'secret ' * 30} (secret)1.4 (secret)0.4"
        encode(pipe, secret, negative_prompt=secret, compel_weights=[("secret", 1.2)])
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
