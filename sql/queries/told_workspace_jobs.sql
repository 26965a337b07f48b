-- The jobs of which an object is named by a row of the table that some applications have beside ours; `own`: only by rows
-- that are the job's own.
select split_part(t.key, '/', 2)::uuid as id, bool_and(split_part(t.key, '/', 2) is not distinct from t.own) as own
from (
  select to_jsonb(w) ->> 'job_id' as own, substring((regexp_matches(w::text, %(rough)s, 'g'))[1] from %(form)s) as key
  from public.workspace_assets w
) as t
where t.key is not null
group by 1
