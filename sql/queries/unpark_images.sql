-- Give a job that was there before the triggers its rows, as an insert would: the application's own first, those without
-- an image_index with the lowest free one.
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
  where not exists (select from public.images i where i.job_id = job.id and i.image_index = p.place)
),
loose as (
  select i.id, row_number() over (order by i.created_at, i.id) as turn
  from job
  join public.images i on i.job_id = job.id
  where i.image_index is null and i.user_id = job.user_id and i.status is distinct from 'completed'
),
taken_up as (
  update public.images i set image_index = places.place, status = 'queued', updated_at = now()
  from loose
  join places using (turn)
  where i.id = loose.id
),
waiting as (
  update public.images i set status = 'queued', progress = null, error_message = null, updated_at = now()
  from job
  where i.job_id = job.id and i.image_index >= 0 and i.status is distinct from 'completed'
)
insert into public.images (job_id, user_id, image_index, status, prompt, metadata, managed)
select job.id, job.user_id, places.place, 'queued', coalesce(job.original_prompt, job.metadata ->> 'prompt', ''), '{}', true
from job
cross join places
where places.turn > (select count(*) from loose)
on conflict (job_id, image_index) do nothing
