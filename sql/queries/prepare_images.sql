-- Give the application's images of this job that have no image_index the lowest one that no row of its own has,
-- and a job without any rows (it was there before the triggers) its rows.
with job as materialized (
  select j.* from public.jobs j
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
  for no key update
),
places as (
  select place from generate_series(0, %(count)s::integer - 1) as place
),
loose as (
  select i.id, row_number() over (order by i.created_at, i.id) as turn
  from job
  join public.images i on i.job_id = job.id
  where i.image_index is null and not i.managed and i.user_id = job.user_id and i.status is distinct from 'completed'
),
free as (
  select p.place, row_number() over (order by p.place) as turn
  from places p
  where not exists (
    select from public.images i
    where i.job_id = %(job_id)s::uuid and i.image_index = p.place and (not i.managed or i.status = 'completed')
  )
),
taken_up as (
  update public.images i set image_index = free.place
  from loose
  join free using (turn)
  where i.id = loose.id and i.image_index is null
)
insert into public.images (job_id, user_id, image_index, status, prompt, metadata, managed)
select job.id, job.user_id, p.place, 'queued', coalesce(job.original_prompt, job.metadata ->> 'prompt', ''), '{}', true
from job
cross join places p
where not exists (select from public.images i where i.job_id = job.id)
on conflict (job_id, image_index) do nothing
