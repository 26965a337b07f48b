"""Publications that have Postgres refuse UPDATE and DELETE: what tells rows apart is not among what they publish."""

from collections.abc import Iterator

from consumer.preflight.existing import Existing
from consumer.preflight.finding import Finding, stop

WHY = {
    "columns": "lists columns of public.{} and leaves out some of what tells its rows apart",
    "rows": "chooses rows of public.{} by other columns than those that tell them apart",
    "identity": "has public.{}, whose rows nothing tells apart",
}
IDENTIFY = "Give it a primary key, or: alter table public.{} replica identity full;"


def refusal(publication: str, relation: str, what: str, updates: bool) -> tuple[str, str]:
    """The sentence and the remedy for one row of preflight/published.sql."""
    writes = "UPDATE" if updates else "DELETE"
    sentence = f"The publication {publication} {WHY[what].format(relation)}: Postgres refuses every {writes} of it."
    if what == "identity":
        return sentence, IDENTIFY.format(relation)
    change = f"alter publication {publication}"
    return sentence, f"{change} drop table public.{relation}; {change} add table public.{relation};"


def published(existing: Existing) -> Iterator[Finding]:
    """What would be refused: a worker's UPDATE, or the DELETE of orphans, which reaches what cascades too."""
    for found in existing.rows("published"):
        yield stop(*refusal(**found))
