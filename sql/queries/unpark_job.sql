-- Put a parked job (queued before the queue was there) in line, as an insert would, and wake a worker: its medium, and
-- nothing for a job that is not parked. One that another worker had begun counts as parked only where asked for.
with unparked as (
  update public.jobs j
  set status = 'queued', engine = t.engine, start_tag = place, started_at = null, attempts = coalesce(j.attempts, 0),
    queue_at = case when j.available_at is null or j.available_at <= now() then place end,
    metadata = case when coalesce(j.metadata, 'null') in ('null', '[]') then '{}' else j.metadata end
  from consumer.job_types t, (select clock_timestamp() as place) as line
  where j.id = %(job_id)s::uuid and t.job_type = j.job_type and j.engine is null
    and (coalesce(j.status, 'queued') = 'queued' or (j.status = 'processing' and %(begun)s::boolean))
  returning t.medium
)
select medium, pg_notify('consumer_jobs', '') from unparked
