"""The rows that are there: what stops the unique indexes, and what will become of the rest."""

from collections.abc import Iterator

from psycopg import sql

from consumer.job import Medium
from consumer.preflight.existing import RESULT, Existing, raw, table
from consumer.preflight.finding import Finding, note, ok, stop
from consumer.preflight.orphans import MOVED_BY, count_orphans

NULLS = {
    "jobs": {
        "status": "a.status is null", "attempts": "a.attempts is null",
        "metadata (or no JSON object)": "jsonb_typeof(a.metadata) is distinct from 'object'",
        "created_at": "a.created_at is null",
    },
    "images": {"image_index": "a.job_id is not null and a.image_index is null", "metadata": "a.metadata is null"},
    "videos": {"status": "a.status is null", "metadata": "a.metadata is null"},
}  # fmt: skip

TWINS = """
select count(*) from (
  select from {} a where a.job_id is not null and a.image_index is not null
  group by a.job_id, a.image_index having count(*) > 1
) as twins
"""

SHOW_TWINS = (
    "select job_id, image_index, array_agg(id order by created_at) from public.RELATION "
    "where job_id is not null and image_index is not null group by 1, 2 having count(*) > 1;"
)

PARKED = """
select count(*) filter (where ours and not begun) as waiting, count(*) filter (where ours and begun) as begun,
  count(*) filter (where not ours) as others
from (
  select a.job_type = any (%s) as ours, a.status is not distinct from 'processing' as begun
  from {} a
  where coalesce(a.status, 'queued') in ('queued', 'processing') and {} is null
) as jobs
"""


def duplicates(existing: Existing) -> Iterator[Finding]:
    """Keys that more than one row has: the unique index could not be built."""
    for relation in RESULT:
        if existing.has(relation, "job_id", "image_index") and (
            found := existing.value(sql.SQL(TWINS).format(table(relation)))
        ):
            yield stop(
                f"In public.{relation} {found} pairs of job_id and image_index stand in more than one row each.",
                f"Keep one row of each; this shows them: {SHOW_TWINS.replace('RELATION', relation)}",
            )


def nulls(existing: Existing) -> Iterator[Finding]:
    """NULLs where this system knows better; it takes them for what they mean."""
    counts = []
    for relation, conditions in NULLS.items():
        for what, condition in conditions.items():
            names = [
                name
                for name in ("status", "attempts", "metadata", "created_at", "job_id", "image_index")
                if name in condition
            ]
            if existing.has(relation, *names):
                found = existing.value(
                    sql.SQL("select count(*) from {} a where {}").format(table(relation), raw(condition))
                )
                counts += [f"public.{relation}.{what} in {found}"] if found else []
    if counts:
        yield note(
            f"Rows with NULL: {', '.join(counts)}. They stay as they are; a status counts as queued, attempts as 0, "
            "metadata as empty, and a picture without an index gets one when its job is claimed or unparked."
        )


def negative(existing: Existing) -> Iterator[Finding]:
    """Places that no result has."""
    for relation in RESULT:
        if existing.has(relation, "image_index") and (
            found := existing.value(sql.SQL("select count(*) from {} where image_index < 0").format(table(relation)))
        ):
            yield note(
                f"In public.{relation} {found} rows have a negative image_index: they stay as they are, count for no "
                "job, and get no result."
            )


def orphans(existing: Existing) -> Iterator[Finding]:
    """Placeholders that the migration will move aside."""
    if existing.revision >= MOVED_BY:
        return
    for relation in RESULT:
        if found := count_orphans(existing, relation):
            yield note(
                f"In public.{relation} {found} placeholders will never be finished (older than a day, no result, "
                f"no job or one that is over): revision {MOVED_BY} moves them to consumer.orphans, and `down` back."
            )


def rowless(existing: Existing) -> Iterator[Finding]:
    """Jobs that have no row to show a result in."""
    if not existing.has("jobs", "job_type", "status", "image_id", "video_id"):
        return
    for medium, link in ((Medium.image, "image_id"), (Medium.video, "video_id")):
        relation = f"{medium}s"
        linked = raw("not exists (select from {} r where r.job_id = a.id)").format(table(relation))
        statement = sql.SQL(
            "select count(*) filter (where coalesce(a.status, 'queued') in ('queued', 'processing')) as waiting, "
            "count(*) as every from {} a where a.job_type = any (%s) and a.{} is null and {}"
        ).format(table("jobs"), sql.Identifier(link), linked if existing.has(relation, "job_id") else sql.SQL("true"))
        [row] = existing.connection.execute(statement, [existing.names(medium)]).fetchall()
        if row["every"]:
            yield note(
                f"{row['every']} jobs that make {relation} have none, {row['waiting']} of them not over yet: "
                "unparking makes the rows; the others stay as they are."
            )


def parked(existing: Existing) -> Iterator[Finding]:
    """Jobs that wait from before the queue, and those that are none of its business."""
    if not existing.has("jobs", "job_type", "status"):
        return
    statement = sql.SQL(PARKED).format(table("jobs"), existing.column("jobs", "engine"))
    [row] = existing.connection.execute(statement, [list(existing.job_types)]).fetchall()
    if row["waiting"] or row["begun"]:
        begun = f", and {row['begun']} that another worker has begun," if row["begun"] else ""
        yield note(
            f"{row['waiting']} queued jobs of our types{begun} are parked, not run.",
            "`consumer jobs list --parked` shows them, `consumer jobs unpark` puts them in line.",
        )
    if row["others"]:
        yield ok(f"{row['others']} jobs of other types are left to whoever runs them.")


def sizes(existing: Existing) -> Iterator[Finding]:
    """How many rows each table has, and how much room they take with their indexes."""
    for name, found in existing.tables.items():
        if found["kind"] == "r":
            count = existing.value(sql.SQL("select count(*) from {}").format(table(name)))
            yield ok(f"public.{name} has {count} rows in {found['size']}.")
