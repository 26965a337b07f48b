-- Put a parked job (queued before the queue was there) in line, as an insert would, and wake a worker: its medium, and
-- nothing for a job that is not parked. What its user could write while it was parked counts for nothing. One that
-- another worker had begun counts as parked only where asked for. Its place in line comes from the trigger keep_in_line.
with unparked as (
  update public.jobs j
  set status = 'queued', engine = t.engine, queue_at = null, priority = 0, max_attempts = case when j.max_attempts between 1 and 100 then j.max_attempts end,
    image_id = (select i.id from public.images i where i.id = j.image_id and i.user_id = j.user_id),
    video_id = (select v.id from public.videos v where v.id = j.video_id and v.user_id = j.user_id),
    metadata = case when coalesce(j.metadata, 'null') in ('null', '[]') then '{}' else j.metadata end
  from consumer.job_types t
  where j.id = %(job_id)s::uuid and t.job_type = j.job_type and j.engine is null
    and (coalesce(j.status, 'queued') = 'queued' or (j.status = 'processing' and %(begun)s::boolean))
  returning t.medium
)
select medium, pg_notify('consumer_jobs', '') from unparked
