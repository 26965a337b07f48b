"""Does a CHECK refuse what we write? Each is asked itself, with a value in place of its column."""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from consumer.job import Status
from consumer.preflight.existing import Existing, Row, raw
from consumer.preflight.finding import Finding, note, stop

FOLDER = "00000000-0000-0000-0000-000000000000/00000000-0000-0000-0000-000000000000"
SENTENCE = "The worker stopped in the middle of this job."
WIDENED_BY = "0013"
"""The revision that makes room for our words in a CHECK on a status."""

RESULTS = {
    "status": tuple(Status), "thumbnail_url": (f"{FOLDER}/0.thumb.webp",), "image_index": ("0",), "metadata": ("{}",),
    "seed": ("0", "2147483647"), "file_size": ("1",), "progress": ("0", "100"), "error_message": (SENTENCE,),
}  # fmt: skip
WRITTEN: dict[str, dict[str, tuple[str, ...]]] = {
    "jobs": {"status": tuple(Status), "attempts": ("0", "1"), "metadata": ("{}",), "error_message": (SENTENCE,)},
    "images": {**RESULTS, "format": ("png",), "image_url": (f"{FOLDER}/0.png",), "prompt": ("",)},
    "videos": {
        **RESULTS, "format": ("mp4",), "video_url": (f"{FOLDER}/0.mp4",), "duration": ("1", "5"),
        "resolution": ("480x832",),
    },
}  # fmt: skip
"""Values of the kind that we write, by table and column."""


def checks(existing: Existing) -> Iterator[Finding]:
    """CHECKs that would refuse our writes, or might."""
    for rule in existing.rows("rules"):
        relation, columns = rule["relation"], rule["columns"]
        written = [name for name in columns if name in WRITTEN[relation]]
        if columns == ["job_type"]:
            yield from _job_types(existing, rule)
        elif len(columns) == 1 and written:
            yield from _one(existing, rule)
        elif written and existing.theirs(relation):
            yield note(
                f"The rule {rule['name']} of public.{relation} binds {', '.join(columns)} together: see that it allows "
                f"what a worker writes to {', '.join(written)}."
            )


def _one(existing: Existing, rule: Row) -> Iterator[Finding]:
    relation, [name] = rule["relation"], rule["columns"]
    refused = [value for value in WRITTEN[relation][name] if refuses(existing, rule, value)]
    if not refused:
        return
    values = ", ".join(repr(str(value)) for value in refused)
    sentence = f"The rule {rule['name']} of public.{relation} refuses {name} {values}."
    if name == "status" and existing.revision < WIDENED_BY:
        yield note(f"{sentence} Revision {WIDENED_BY} puts one in its place that allows it besides.")
    else:
        yield stop(sentence, f"alter table public.{relation} drop constraint {rule['name']};")


def _job_types(existing: Existing, rule: Row) -> Iterator[Finding]:
    refused = [name for name in existing.job_types if refuses(existing, rule, name)]
    if refused:
        yield note(f"The rule {rule['name']} of public.jobs allows no jobs of these types: {', '.join(refused)}.")


def refuses(existing: Existing, rule: Row, value: str) -> bool:
    """Whether the rule does not allow this value; one that its type does not even know counts as refused."""
    statement = sql.SQL("select not ({}) as refused from (select {}::{} as {}) as given").format(
        raw(rule["expression"]), sql.Literal(str(value)), raw(rule["type"]), sql.Identifier(rule["columns"][0])
    )
    try:
        with existing.connection.transaction():
            return existing.value(statement) is True
    except psycopg.errors.DataError:
        return True
