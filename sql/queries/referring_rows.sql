-- The foreign keys to jobs, images and videos: which table refers to which, by what condition of `other` and `t`, and the
-- column of `t` that is the job. A job's own rows are left out: of its image it is no matter that the job refers to it.
select c.conrelid::regclass::text as referring, c.confrelid::regclass::text as referred, t.job,
  c.conrelid is not distinct from to_regclass('public.workspace_assets') as workspace,
  (
    select string_agg('other.' || quote_ident(theirs.attname) || ' = t.' || quote_ident(ours.attname), ' and ')
    from unnest(c.conkey, c.confkey) as key (theirs, ours)
    join pg_catalog.pg_attribute theirs on theirs.attrelid = c.conrelid and theirs.attnum = key.theirs
    join pg_catalog.pg_attribute ours on ours.attrelid = c.confrelid and ours.attnum = key.ours
  ) || case
    when c.conrelid = 'public.jobs'::regclass then ' and other.id is distinct from t.' || t.job
    when c.conrelid in ('public.images'::regclass, 'public.videos'::regclass) then ' and other.job_id is distinct from t.' || t.job
    else ''
  end as condition
from pg_catalog.pg_constraint c
join (
  values ('public.jobs'::regclass, 'id'), ('public.images'::regclass, 'job_id'), ('public.videos'::regclass, 'job_id')
) as t (relation, job) on t.relation = c.confrelid
where c.contype = 'f' and c.conparentid = 0
order by c.conrelid, c.conname
