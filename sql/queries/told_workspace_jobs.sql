-- The jobs of which an object is named by a row of the table that some applications have beside ours; with `others`, by
-- one that is not the job's own.
select distinct split_part(t.key, '/', 2)::uuid as id
from (
  select to_jsonb(w) ->> 'job_id' as own, substring((regexp_matches(w::text, %(rough)s, 'g'))[1] from %(form)s) as key
  from public.workspace_assets w
) as t
where t.key is not null and not (%(others)s::boolean and split_part(t.key, '/', 2) is not distinct from t.own)
