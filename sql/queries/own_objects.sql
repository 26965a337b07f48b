-- For each of these objects: does a row of its own job tell of it, and does that job wait or run?
select o.key,
  exists (select from public.jobs j where j.id = o.job_id and position(o.key in j::text) > 0)
  or exists (select from public.images i where i.job_id = o.job_id and position(o.key in i::text) > 0)
  or exists (select from public.videos v where v.job_id = o.job_id and position(o.key in v::text) > 0) as told,
  coalesce(
    (select j.status in ('queued', 'processing') from public.jobs j where j.id = o.job_id), false
  ) as live
from unnest(%(keys)s::text[], %(job_ids)s::uuid[]) as o (key, job_id)
