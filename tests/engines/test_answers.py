"""What a language model answered becomes a prompt, or nothing."""

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer import job_types
from consumer.engines.answers import clean
from consumer.job import Job
from consumer.request import parse

FOX = "a red fox in the snow"


@pytest.mark.parametrize(
    "answer",
    [
        FOX,
        f"  {FOX}\n",
        f'"{FOX}"',
        f"\u201c{FOX}\u201d",
        f"\u00ab {FOX} \u00bb",
        f"'{FOX}'",
        f"**{FOX}**",
        f"```\n{FOX}\n```",
        f"```text\n{FOX}\n```",
        f"`{FOX}`",
        f"Prompt: {FOX}",
        f'Rewritten prompt: "{FOX}"',
        f"**Enhanced Prompt:** {FOX}",
        f"**Prompt**: {FOX}",
        f"Answer:\n\n{FOX}",
        f"Sure! Here is the rewritten prompt:\n\n{FOX}",
        f"Here's an enhanced version of your prompt, in one line:\n```\n{FOX}\n```",
        f"Certainly, {FOX}",
        f"<think>\nThe user wants a fox.\n</think>\n\n{FOX}",
        f"The user wants a fox.</think>{FOX}",
        "a red\nfox\r\n\tin   the\u2028snow",
        f"\ufeff{FOX}\ufffd\0\x1b\ud83d",
    ],
    ids=range(22),
)
def test_what_is_put_around_a_prompt_goes(answer):
    assert clean(answer) == FOX


@pytest.mark.parametrize(
    "answer",
    [
        'a sign that says "Cabo 9" above a door',
        '"Cabo 9" and "Cabo 10", two signs',
        "a prompt: the cue of an actor on a stage",
        "surely a river, here and there a boat: still water",
        "Zoë's café at 7 o'clock, straße",
        "一只红色的狐狸站在雪地里",
        "雪の中の赤い狐",
        "рыжая лиса в снегу",
        "a family 👨\u200d👩\u200d👧 in the snow",
    ],
)
def test_what_belongs_to_a_prompt_stays(answer):
    assert clean(answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        '""',
        "``````",
        "Prompt:",
        "a fox",
        "snow snow snow snow snow snow",
        "... !!! ???",
        "狐狸",
        "<think>The user wants a fox in the snow",
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, but I can\u2019t help with that.",
        "I cannot rewrite this prompt.",
        "As an AI language model, I do not draw.",
        "Sorry, that is not possible here.",
    ],
)
def test_what_is_no_prompt_is_nothing(answer):
    assert clean(answer) == ""


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("a red fox in the snow, birches behind it, long sha", "a red fox in the snow, birches behind it"),
        (
            "A red fox stands in the snow. Birches fade into mist. The",
            "A red fox stands in the snow. Birches fade into mist.",
        ),
        ("a red fox in the snow and long sha", "a red fox in the snow and long"),
        ("Fox, standing in the deep snow of a quiet fore", "Fox, standing in the deep snow of a quiet"),
    ],
)
def test_a_prompt_that_was_cut_off_ends_with_its_last_whole_phrase(answer, kept):
    assert clean(answer, cut=True) == kept
    assert clean(answer) == answer


@pytest.mark.parametrize("piece", ["a red fox, ", "a red fox ", "一只红色的狐狸\uff0c", "🦊 red fox in "], ids=range(4))
def test_a_prompt_of_any_length_fits_into_a_request(piece):
    text = clean(piece * 2000)
    assert 2000 < len(text) <= 4000
    assert text.startswith(piece.strip(" ,\uff0c"))
    assert stored(text) == text


def test_an_endless_word_is_no_prompt():
    assert clean("one two " + "x" * 5000) == ""
    assert clean("one two three " + "x" * 5000) == "one two three"


def stored(text: str) -> str:
    """The prompt that the next attempt reads from the row."""
    job = Job(UUID(int=1), UUID(int=2), "sketch", "sketch", 1, 2, 3, {"seed": 7}, "a fox", text)
    return parse(job, job_types.load()["sketch"]).prompt


@given(st.text(max_size=200) | st.text("\"'`*<>:, aAfox", max_size=60), st.booleans())
@example('"' * 5, False)
@example("* Prompt: * 'a b c' *", True)
@example("\ud800 a b c", False)
@example("1:00:0*,", True)
def test_whatever_was_answered_becomes_one_line_that_can_be_stored_and_read_again(answer, cut):
    text = clean(answer, cut=cut)
    assert text == " ".join(text.split())
    assert clean(text) == text
    if text:
        assert stored(text) == text
        assert text.encode()
        assert "\0" not in text
