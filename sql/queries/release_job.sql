-- Give a job back untouched, with its attempt and its place in line, for another worker to take at once.
with released as (
  update public.jobs j
  set status = 'queued', worker_id = null, attempts = greatest(j.attempts - 1, 0), available_at = null,
    queue_at = coalesce(j.start_tag, now())
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
  returning j.id
),
images as (
  update public.images i set status = 'queued', progress = null, updated_at = now()
  from released
  where i.job_id = released.id and i.status = 'processing'
),
videos as (
  update public.videos v set status = 'queued', progress = null, updated_at = now()
  from released
  where v.job_id = released.id and v.status = 'processing'
)
select pg_notify('consumer_jobs', '') from released
