-- The same as unpark_images for videos; jobs.video_id is a link of its own, from before videos.job_id existed.
with job as materialized (
  select j.*, consumer.asset_count(j.metadata, t) as count
  from public.jobs j
  join consumer.job_types t using (job_type)
  where j.id = %(job_id)s::uuid
),
places as (
  select p.place, row_number() over (order by p.place) as turn
  from job
  cross join lateral generate_series(0, job.count - 1) as p (place)
  where not exists (select from public.videos v where v.job_id = job.id and v.image_index = p.place)
),
loose as (
  select v.id, row_number() over (order by v.created_at, v.id) as turn
  from job
  join public.videos v on v.job_id = job.id or (v.id = job.video_id and v.job_id is null)
  where v.image_index is null and v.user_id = job.user_id and v.status is distinct from 'completed'
),
taken_up as (
  update public.videos v set job_id = %(job_id)s::uuid, image_index = places.place, status = 'queued', updated_at = now()
  from loose
  join places using (turn)
  where v.id = loose.id
),
waiting as (
  update public.videos v set status = 'queued', progress = null, error_message = null, updated_at = now()
  from job
  where v.job_id = job.id and v.image_index >= 0 and v.status is distinct from 'completed'
)
insert into public.videos (job_id, user_id, image_index, status, metadata, managed)
select job.id, job.user_id, places.place, 'queued', '{}', true
from job
cross join places
where places.turn > (select count(*) from loose)
on conflict (job_id, image_index) do nothing
