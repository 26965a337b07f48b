"""How many rows the revision of the orphans will move: its rule, where its columns and ours may not be there yet."""

from psycopg import sql

from consumer.preflight.existing import RESULT, Existing, table

MOVED_BY = "0014"

RULE = sql.SQL("""
select count(*) from {relation} a
where {managed} is not true and {result} is null and {thumbnail_url} is null
  and coalesce(a.status, 'pending') in ('pending', 'queued', 'generating', 'processing')
  and greatest(a.created_at, {updated_at}) < now() - interval '1 day'
  and coalesce(to_jsonb(a) ->> 'image_urls', '[]') in ('[]', '{{}}')
  and not exists (
    select from {jobs} j
    where j.id = {job_id} and coalesce(j.status, 'queued') not in ('completed', 'failed', 'cancelled')
  )
  and a.id::text <> all (array(
    select jsonb_array_elements_text(j.metadata -> 'image_ids') from {jobs} j
    where coalesce(j.status, 'queued') not in ('completed', 'failed', 'cancelled')
      and jsonb_typeof(j.metadata -> 'image_ids') = 'array'
  ))
  and {unreferenced}
""")


def count_orphans(existing: Existing, relation: str) -> int:
    """How many rows of `images` or `videos` nobody will finish; 0 where that cannot be told yet."""
    result = RESULT[relation]
    if not existing.has(relation, "id", "status", "created_at", result) or not existing.has(
        "jobs", "id", "status", "metadata"
    ):
        return 0
    return int(existing.value(RULE.format(
        relation=table(relation), jobs=table("jobs"), result=existing.column(relation, result),
        managed=existing.column(relation, "managed", "false"),
        thumbnail_url=existing.column(relation, "thumbnail_url"),
        updated_at=existing.column(relation, "updated_at"),
        job_id=existing.column(relation, "job_id", "null::uuid"),
        unreferenced=_unreferenced(existing, relation),
    )))  # fmt: skip


def _unreferenced(existing: Existing, relation: str) -> sql.Composable:
    clauses: list[sql.Composable] = [sql.SQL("true")]
    for key in existing.rows("references"):
        if key["target"] == relation:
            pairs = [
                sql.SQL("other.{} = a.{}").format(sql.Identifier(theirs), sql.Identifier(ours))
                for theirs, ours in zip(key["theirs"], key["ours"], strict=True)
            ]
            source = sql.Identifier(key["schema"], key["source"])
            clauses.append(
                sql.SQL("not exists (select from {} other where {})").format(source, sql.SQL(" and ").join(pairs))
            )
    return sql.SQL(" and ").join(clauses)
