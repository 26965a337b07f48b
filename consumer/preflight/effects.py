"""What the function of a trigger does to other tables, by its source, and which of that a role may not.

A function that is not SECURITY DEFINER runs with the rights of whoever fires the trigger.
"""

import re
from dataclasses import dataclass
from typing import Any

import psycopg

from consumer.statements import query

NAME = r'("[^"]+"|\w+)(?:\.("[^"]+"|\w+))?'
DONE = {
    "insert": rf"\binsert into {NAME}",
    "update": rf"\bupdate (?:only )?{NAME}(?: as)?(?: \w+)? set\b",
    "delete": rf"\bdelete from (?:only )?{NAME}",
    "select": rf"(?<!delete )\b(?:from|join) (?:only )?{NAME}",
}
WORDS = {"insert": "insert into", "update": "update", "delete": "delete from", "select": "read"}
UNSAID = r"\bexecute\b|\bperform (?!(?:pg_catalog\.)?(?:pg_notify|set_config|pg_advisory_\w+)\b)"
"""What leads on to where the source does not tell."""

ASIDE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a role lacks: what it may not do, what grants it; and whether the function does more than could be told."""

    may_not: tuple[str, ...]
    grants: tuple[str, ...]
    unclear: bool


def uses(source: str) -> list[tuple[str, str, str]]:
    """The schema ('public' where it is left out), the name and the action of each table that the source names."""
    said = _said(source)
    found = {
        (_plain(match[1]) if match[2] else "public", _plain(match[2] or match[1]), action)
        for action, pattern in DONE.items()
        for match in re.finditer(pattern, said, re.IGNORECASE)
    }
    return sorted(found)


def lacking(
    connection: psycopg.Connection[dict[str, Any]],
    role: str,
    source: str,
    granted: frozenset[tuple[str, str]] = frozenset(),
) -> Lacking:
    """What `role` lacks for what this source does, but for the pairs of relation and action in `granted`.

    A role that does not exist has what everybody has."""
    found = uses(source)
    given = {
        "role": role,
        **{part: [use[i] for use in found] for i, part in enumerate(("schemas", "names", "actions"))},
    }
    rows = connection.execute(query("preflight/lacking"), given).fetchall()
    lacks = [row for row in rows if row["grants"] and (row["relation"], row["action"]) not in granted]
    unclear = [row for row in rows if row["action"] != "select" and row not in lacks and not row["wholly"]]
    return Lacking(
        tuple(f"{WORDS[row['action']]} {row['relation']}" for row in lacks),
        tuple(dict.fromkeys(grant for row in lacks for grant in row["grants"])),
        bool(unclear) or bool(re.search(UNSAID, _said(source), re.IGNORECASE)),
    )


def remedy(function: str, grants: tuple[str, ...] = ()) -> str:
    """What makes the function independent of who fires the trigger; or what that role needs."""
    definer = f"alter function {function} security definer set search_path = public, extensions, pg_temp;"
    return f"{definer} or: {' '.join(grants)}" if grants else definer


def _said(source: str) -> str:
    """The source without comments and texts, its words one blank apart."""
    bare = ASIDE.sub(lambda found: "''" if found[0].startswith("'") else " ", source)
    return re.sub(r"\s+", " ", bare)


def _plain(name: str) -> str:
    return name[1:-1] if name.startswith('"') else name.lower()
