"""What a check found."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from consumer.errors import ConsumerError


class Status(StrEnum):
    """ok; note: good to know; skip: could not be looked at, because of something that another line tells; wrong."""

    ok = "ok"
    note = "note"
    skip = "skip"
    wrong = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `message` is a sentence without secrets; `remedy` is the command or setting that mends it."""

    status: Status
    message: str
    remedy: str | None = None
    check: str = ""
    """Group and name, like `schema.triggers`; whoever runs the check fills it in."""


Findings = Iterator[Finding]


class WrongError(ConsumerError):
    """What is wrong ends the check."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class ImpossibleError(ConsumerError):
    """The check cannot be made; why, another check tells or the sentence does."""


def ok(message: str) -> Finding:
    """All is well."""
    return Finding(Status.ok, message)


def note(message: str, remedy: str | None = None) -> Finding:
    """Good to know; nothing fails."""
    return Finding(Status.note, message, remedy)


def skip(message: str) -> Finding:
    """Not looked at, and why."""
    return Finding(Status.skip, message)


def wrong(message: str, remedy: str | None = None) -> Finding:
    """Something that fails, now or later; `remedy` is None where the message says what mends it."""
    return Finding(Status.wrong, message, remedy)
