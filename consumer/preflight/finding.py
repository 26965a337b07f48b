"""What a check says."""

from dataclasses import dataclass, replace
from enum import StrEnum


class Level(StrEnum):
    """Nothing to do; something to know; something that must be mended first."""

    ok = "ok"
    note = "note"
    stop = "stop"


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence, and what mends it (None: nothing needs to)."""

    level: Level
    sentence: str
    remedy: str | None = None
    check: str = ""

    def named(self, check: str) -> "Finding":
        """The same, as what this check found."""
        return replace(self, check=check)


def ok(sentence: str) -> Finding:
    """As it should be."""
    return Finding(Level.ok, sentence)


def note(sentence: str, remedy: str | None = None) -> Finding:
    """Nothing that would stop a migration."""
    return Finding(Level.note, sentence, remedy)


def stop(sentence: str, remedy: str) -> Finding:
    """A migration would fail, or the worker after it."""
    return Finding(Level.stop, sentence, remedy)
