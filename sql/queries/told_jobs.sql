-- The jobs of which an object is named by a row that is not theirs, in whatever column: a row of the application, or a job
-- that waits or runs. Reads the tables whole.
select distinct split_part(t.key, '/', 2)::uuid as id, false as own
from (
  select i.job_id as own, substring((regexp_matches(i::text, %(rough)s, 'g'))[1] from %(form)s) as key
  from public.images i where not i.managed
  union all
  select v.job_id, substring((regexp_matches(v::text, %(rough)s, 'g'))[1] from %(form)s)
  from public.videos v where not v.managed
  union all
  select j.id, substring((regexp_matches(j::text, %(rough)s, 'g'))[1] from %(form)s)
  from public.jobs j where j.status in ('queued', 'processing') or j.status is null
) as t
where t.key is not null and split_part(t.key, '/', 2)::uuid is distinct from t.own
