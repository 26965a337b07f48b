-- Show how far a job and its assets are, in percent: only upwards, and only while this claim holds the job.
with held as (
  update public.jobs j
  set metadata = case when jsonb_typeof(j.metadata) = 'object' then j.metadata else '{}' end || jsonb_build_object('progress', greatest(
    %(progress)s::integer,
    case when jsonb_typeof(j.metadata -> 'progress') = 'number' then least((j.metadata ->> 'progress')::numeric, 100) end
  ))
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
  returning j.id
),
steps as (
  select s.index, s.progress from jsonb_to_recordset(%(steps)s::jsonb) as s (index integer, progress smallint)
),
images as (
  update public.images i set status = 'processing', progress = greatest(i.progress, s.progress), updated_at = now()
  from held, steps s
  where i.job_id = held.id and i.image_index = s.index and i.status is distinct from 'completed'
),
videos as (
  update public.videos v set status = 'processing', progress = greatest(v.progress, s.progress), updated_at = now()
  from held, steps s
  where v.job_id = held.id and v.image_index = s.index and v.status is distinct from 'completed'
)
select exists (select from held) as held
