"""Triggers, functions and the publication of the application."""

import re
from collections.abc import Iterator

from consumer.preflight.effects import lacking, remedy
from consumer.preflight.existing import TABLES, Existing, Row
from consumer.preflight.finding import Finding, note, ok, stop
from consumer.preflight.orphans import MOVED_BY, count_orphans

WORKER = "consumer_worker"
GRANTED = frozenset(
    (f"public.{table}", action)
    for table in TABLES
    for action in ("select", "insert", "update")
    if (table, action) != ("jobs", "insert")
)
"""What the migrations grant a worker, column by column."""


def triggers(existing: Existing) -> Iterator[Finding]:
    """Triggers that may refuse what a worker writes; of two kinds it is known what they ask for."""
    for trigger in existing.rows("triggers"):
        what = _called(trigger)
        if not trigger["writes"]:
            continue
        if known := _satisfied(trigger):
            yield note(f"{what} {known}")
        elif trigger["language"] not in ("sql", "plpgsql"):
            yield note(f"{what} is written in {trigger['language']}: see that it refuses nothing that a worker writes.")
        elif _raises(trigger):
            yield note(f"{what} can raise an exception: see that it refuses nothing that a worker writes.")
        yield from _effects(existing, trigger)


def _called(trigger: Row) -> str:
    return f"The trigger {trigger['name']} of public.{trigger['relation']} ({trigger['function']})"


def _effects(existing: Existing, trigger: Row) -> Iterator[Finding]:
    """A function that is not SECURITY DEFINER does what it does as the worker, which has rights on our tables alone."""
    if trigger["definer"] or not trigger["by_worker"] or trigger["language"] not in ("sql", "plpgsql"):
        return
    lacks = lacking(existing.connection, WORKER, trigger["source"], GRANTED)
    what = f"{_called(trigger)} runs with the worker's rights"
    if lacks.may_not:
        yield note(
            f"{what}, and {WORKER} may not {' or '.join(lacks.may_not)}.", remedy(trigger["function"], lacks.grants)
        )
    elif lacks.unclear:
        yield note(f"{what}: see that {WORKER} may do all that it does.", remedy(trigger["function"]))


def deleting(existing: Existing) -> Iterator[Finding]:
    """Triggers that refuse DELETE, by which the migration moves orphans aside."""
    if existing.revision >= MOVED_BY:
        return
    for trigger in existing.rows("triggers"):
        relation = trigger["relation"]
        if not trigger["deletes"] or relation == "jobs" or not _raises(trigger):
            continue
        if count := count_orphans(existing, relation):
            always = not trigger["conditional"] and not re.search(r"\b(if|case|when)\b", trigger["source"], re.I)
            yield (stop if always else note)(
                f"{_called(trigger)} {'refuses' if always else 'may refuse'} DELETE, and revision {MOVED_BY} moves "
                f"{count} rows from there.",
                f"alter table public.{relation} disable trigger {trigger['name']}; and enable it again afterwards",
            )


def _raises(trigger: Row) -> bool:
    return bool(re.search(r"\braise\s+(exception\b|'|sqlstate\b|using\b)|\bassert\b", trigger["source"], re.IGNORECASE))


def _satisfied(trigger: Row) -> str | None:
    said = set(re.findall(r"\w+", trigger["source"].lower()))
    if not _raises(trigger) or "completed" not in said:
        return None
    if trigger["relation"] == "jobs" and said & {"image_id", "video_id"}:
        return (
            "seems to refuse a completed job without its image_id or video_id: "
            "a worker sets them in the statement that completes the job."
        )
    if trigger["relation"] == "videos" and "video_url" in said:
        return (
            "seems to refuse a completed video without its video_url: "
            "a worker sets it in the statement that completes the video."
        )
    return None


def functions(existing: Existing) -> Iterator[Finding]:
    """Functions of the application that have the names of ours."""
    for row in existing.rows("functions"):
        if row["name"] not in existing.created:
            yield stop(
                f"There is already a function {row['name']}, and it is not ours.",
                f"Rename it first: alter function {row['name']} rename to ...;",
            )


def publication(existing: Existing) -> Iterator[Finding]:
    """The publication that Realtime reads."""
    rows = existing.rows("publication")
    if not rows:
        yield ok("There is no publication supabase_realtime: the migrations create it.")
        return
    [found] = rows
    missing = [name for name in TABLES if name not in found["tables"]]
    if found["all_tables"]:
        yield note(
            "The publication supabase_realtime is FOR ALL TABLES: it stays as it is, and publishes the tables of the "
            "schema consumer as well, which no API role may read."
        )
    elif missing and not found["owned"]:
        yield stop(
            f"The publication supabase_realtime belongs to {found['owner']}, and lacks {', '.join(missing)}.",
            f"Migrate as {found['owner']}, or add the tables to it as that role.",
        )
    if not found["updates"]:
        yield note(
            "The publication supabase_realtime does not publish UPDATE: no frontend will see a result arrive.",
            "alter publication supabase_realtime set (publish = 'insert, update, delete, truncate');",
        )
