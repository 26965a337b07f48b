"""What a language model answered becomes a prompt again: without what talkative models put around it."""

import re

from consumer.errors import RejectedError
from consumer.fields import check

LONGEST = 4000
FEWEST_WORDS = 3


def pattern(text: str) -> re.Pattern[str]:
    """Of words of a model, in capitals or not."""
    return re.compile(text, re.IGNORECASE | re.DOTALL)


THOUGHT = pattern(r".*</think(?:ing)?>|<think(?:ing)?>.*")
FENCE = pattern(r"```(?:[a-z]*\n)?")
NOISE = pattern(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffd]")
PREFACES = (
    pattern(r"(?:sure|certainly|of course|okay|absolutely)[,.!:]\s*"),
    pattern(r"here(?:['\u2019]s| is| are)\b[^:.]{0,80}\b(?:prompt|version|description)\b[^:.]{0,80}:\s*"),
    pattern(
        r"\**(?:(?:rewritten|enhanced|improved|final|new|image|video)\s+){0,2}(?:prompt|answer|output)\**\s*:\**\s*"
    ),
)
REFUSAL = pattern(r"i(?:['\u2019]m| am) (?:sorry|unable|not able)|sorry,|i can(?:not|['\u2019]t)\b|as an ai\b")

# Straight, curly, low, French and Japanese ones.
QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "\u00ab\u00bb", "\u300c\u300d")
PHRASES = pattern(r".*[.,;!?\u3001\u3002\uff0c\uff1b\uff01\uff1f]")

# In scripts that put no spaces between words, each letter counts as one.
WORD = pattern(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


def clean(answer: str, *, cut: bool = False) -> str:
    """The prompt in `answer`, in one line; "" where there is none that could be drawn. `cut`: it had no room to end."""
    text = _bare(" ".join(NOISE.sub("", FENCE.sub(" ", THOUGHT.sub("", answer))).split()))
    if cut or len(text) > LONGEST:
        # What stood in the middle may be at the end now.
        text = _bare(_whole_phrases(text[:LONGEST]))
    words = {word.lower() for word in WORD.findall(text)}
    if REFUSAL.match(text) or len(words) < FEWEST_WORDS:
        return ""
    try:
        # The next attempt reads it from the row by the same rule.
        return str(check("enhanced_prompt", text, "prompt"))
    except RejectedError:
        return ""


def _bare(text: str) -> str:
    """`text` without anything around it."""
    before = None
    while text != before:
        before, text = text, _unwrapped(text)
    return text


def _unwrapped(text: str) -> str:
    """`text` without a preface, or without a pair of quotation marks around all of it."""
    for preface in PREFACES:
        if found := preface.match(text):
            text = text[found.end() :]
    text = text.strip("* ")
    inner = text[1:-1]
    if text[:1] + text[-1:] in QUOTES and not {text[0], text[-1]} & set(inner):
        return inner.strip()
    return text


def _whole_phrases(text: str) -> str:
    """`text` up to the end of its last sentence or phrase, or of its last whole word where that is far back."""
    phrases = PHRASES.match(text)
    if phrases and 2 * len(phrases[0]) > len(text):
        return phrases[0].rstrip(",;\u3001\uff0c\uff1b")
    return text.rpartition(" ")[0] or text
