-- Write one video's result into its row, if this claim still holds the job; locks as in record_image.
with held as materialized (
  select j.id from public.jobs j
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
  for share
),
recorded as (
  update public.videos v
  set status = 'completed', video_url = %(url)s, thumbnail_url = %(thumbnail_url)s, seed = %(seed)s::bigint,
    file_size = %(file_size)s::bigint, format = %(format)s, progress = 100, error_message = null,
    duration = case
      when %(metadata)s::jsonb ? 'duration_seconds' then greatest(1, round((%(metadata)s::jsonb ->> 'duration_seconds')::numeric))
    end,
    resolution = (%(metadata)s::jsonb ->> 'width') || 'x' || (%(metadata)s::jsonb ->> 'height'),
    metadata = case when jsonb_typeof(v.metadata) = 'object' then v.metadata else '{}' end || %(metadata)s::jsonb, updated_at = now(), completed_at = now()
  from held
  where v.job_id = held.id and v.image_index = %(index)s::integer and v.status is distinct from 'completed'
  returning v.id
)
select exists (select from held) as held, exists (select from recorded) as recorded
