-- What a frontend shows of these jobs, oldest first: how each of them stands, and its images or videos in order.
with assets as (
  select i.job_id, i.image_index, jsonb_build_object(
    'medium', 'image', 'index', i.image_index, 'status', i.status, 'progress', i.progress, 'seed', i.seed,
    'width', i.metadata -> 'width', 'height', i.metadata -> 'height', 'file_size', i.file_size,
    'url', i.image_url, 'thumbnail_url', i.thumbnail_url, 'error_message', i.error_message
  ) as asset
  from public.images i
  where i.job_id = any (%(job_ids)s::uuid[]) and i.image_index is not null
  union all
  select v.job_id, v.image_index, jsonb_build_object(
    'medium', 'video', 'index', v.image_index, 'status', v.status, 'progress', v.progress, 'seed', v.seed,
    'width', v.metadata -> 'width', 'height', v.metadata -> 'height', 'file_size', v.file_size,
    'url', v.video_url, 'thumbnail_url', v.thumbnail_url, 'error_message', v.error_message
  )
  from public.videos v
  where v.job_id = any (%(job_ids)s::uuid[]) and v.image_index is not null
)
select j.id, j.job_type, j.status, j.original_prompt as prompt, j.error_message, (
  select coalesce(jsonb_agg(a.asset order by a.image_index), '[]') from assets a where a.job_id = j.id
) as assets
from public.jobs j
where j.id = any (%(job_ids)s::uuid[])
order by j.created_at, j.id
