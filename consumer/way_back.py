"""The way back through the revisions: which of them are undone, what is tried before, and what goes last."""

import re
from collections.abc import Sequence

from consumer import statements

TRIED_FIRST = re.compile(r"^-- Tried first\b", re.MULTILINE)
"""In the comment of a statement that refuses, or that what is refused depends on."""

SCHEMA = """\
do $$
begin
  drop table if exists consumer.alembic_version;
  drop schema if exists consumer;
exception when dependent_objects_still_exist or insufficient_privilege then
  raise notice 'The schema consumer stays: %.', sqlerrm;
end
$$"""
"""What is left at the base; it stays where it holds anything else."""


def unfinished(recorded: str | None, numbers: Sequence[str]) -> str | None:
    """The revision after `recorded`, where its statements run one by one: some of them may be for good already."""
    following = numbers[numbers.index(recorded) + 1 :] if recorded in numbers else []
    return following[0] if following and not statements.migration(following[0], "up")[1] else None


def undone(recorded: str | None, target: str, numbers: Sequence[str]) -> list[str]:
    """The revisions above `target` ('' for all) that are there in whole or in part, newest first.

    The first always is, for all: where none is recorded, an interrupted way up may have left something. Where
    `recorded` is a revision that nobody knows: none.
    """
    if recorded and recorded not in numbers:
        return []
    last = unfinished(recorded, numbers) or recorded or numbers[0]
    return [number for number in reversed(numbers) if target < number <= last]


def tried_first(number: str) -> list[str]:
    """The statements that tell whether a revision can be undone."""
    return [line for line in statements.migration(number, "down")[0] if TRIED_FIRST.search(line)]
