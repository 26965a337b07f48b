-- Put a job back for another attempt after a delay; its unfinished rows wait with it. Workers learn of the new time.
-- give_back: the fault is the worker's, and the attempt does not count.
with requeued as (
  update public.jobs j
  set status = 'queued', worker_id = null, queue_at = null,
    available_at = now() + make_interval(secs => %(delay)s::double precision),
    errors = coalesce(j.errors, '[]') || %(error)s::jsonb,
    attempts = greatest(j.attempts - %(give_back)s::boolean::integer, 0)
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
  returning j.id
),
images as (
  update public.images i set status = 'queued', progress = null, updated_at = now()
  from requeued
  where i.job_id = requeued.id and i.status = 'processing'
),
videos as (
  update public.videos v set status = 'queued', progress = null, updated_at = now()
  from requeued
  where v.job_id = requeued.id and v.status = 'processing'
)
select pg_notify('consumer_jobs', '') from requeued
