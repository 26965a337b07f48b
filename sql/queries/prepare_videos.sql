-- The same as prepare_images for videos; jobs.video_id is a link of its own, from before videos.job_id existed.
with job as materialized (
  select j.* from public.jobs j
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
  for no key update
),
places as (
  select place from generate_series(0, %(count)s::integer - 1) as place
),
loose as (
  select v.id, row_number() over (order by v.created_at, v.id) as turn
  from job
  join public.videos v on v.job_id = job.id or (v.id = job.video_id and v.job_id is null)
  where v.image_index is null and not v.managed and v.user_id = job.user_id and v.status is distinct from 'completed'
),
free as (
  select p.place, row_number() over (order by p.place) as turn
  from places p
  where not exists (
    select from public.videos v
    where v.job_id = %(job_id)s::uuid and v.image_index = p.place and (not v.managed or v.status = 'completed')
  )
),
taken_up as (
  update public.videos v set job_id = %(job_id)s::uuid, image_index = free.place
  from loose
  join free using (turn)
  where v.id = loose.id and v.image_index is null
)
insert into public.videos (job_id, user_id, image_index, status, metadata, managed)
select job.id, job.user_id, p.place, 'queued', '{}', true
from job
cross join places p
where not exists (select from public.videos v where v.job_id = job.id) and not exists (select from loose)
on conflict (job_id, image_index) do nothing
