"""What a migrated database has, read from its own picture, sql/schema.sql; the lines are also what mends it."""

import re
from functools import cache

from consumer.statements import SQL

Named = dict[tuple[str, str], str]
"""The statements that make things, by table and name."""


@cache
def picture() -> str:
    """The picture as text."""
    return (SQL / "schema.sql").read_text()


def triggers() -> Named:
    """The triggers of ours."""
    return _named(r"^(CREATE (?:CONSTRAINT )?TRIGGER (?P<name>\w+) .*? ON (?P<table>[\w.]+) .*;)$")


def indexes() -> Named:
    """The indexes of ours, which the migrations make on every table, adopted or not."""
    return _named(r"^(CREATE (?:UNIQUE )?INDEX (?P<name>\w+) ON (?P<table>[\w.]+) .*;)$")


def policies() -> Named:
    """The policies of ours; those that grant a user something are on tables of ours alone."""
    return _named(r"^(CREATE POLICY (?P<name>\w+) ON (?P<table>[\w.]+) .*;)$")


def functions() -> set[str]:
    """The names of our functions, with their schemas."""
    return set(re.findall(r"^CREATE FUNCTION ([\w.]+)\(", picture(), re.M))


def protected() -> list[str]:
    """The tables with row level security."""
    return re.findall(r"^ALTER TABLE ([\w.]+) ENABLE ROW LEVEL SECURITY;$", picture(), re.M)


def _named(pattern: str) -> Named:
    return {(found["table"], found["name"]): found[1] for found in re.finditer(pattern, picture(), re.M)}
