"""The application's table of results to insert, where it has one: can rows of ours go there?"""

from collections.abc import Iterator

from psycopg import sql

from consumer.preflight.existing import Existing
from consumer.preflight.finding import Finding, stop

TWINS = sql.SQL("""
select count(*) from (
  select from public.workspace_assets where job_id is not null and asset_index is not null
  group by job_id, asset_index having count(*) > 1
) as twins
""")

SHOW_TWINS = (
    "select job_id, asset_index, array_agg(id order by created_at) from public.workspace_assets "
    "where job_id is not null and asset_index is not null group by 1, 2 having count(*) > 1;"
)


def sink(existing: Existing) -> Iterator[Finding]:
    """What keeps workspace_assets from taking a row for each result."""
    for found in existing.rows("sink"):
        for name in found["needed"]:
            yield stop(
                f"public.workspace_assets.{name} takes no NULL and has no default: our rows would be refused.",
                f"alter table public.workspace_assets alter column {name} drop not null;",
            )
        for name in found["deferrable"]:
            yield stop(
                f"The unique constraint {name} is deferrable, and INSERT ... ON CONFLICT cannot use such a one.",
                "Drop it, and make it again without DEFERRABLE.",
            )
        if not found["keyed"] and (twins := existing.value(TWINS)):
            yield stop(
                f"In public.workspace_assets {twins} pairs of job_id and asset_index stand in more than one row each.",
                f"Keep one row of each, or give each its own asset_index; this shows them: {SHOW_TWINS}",
            )
