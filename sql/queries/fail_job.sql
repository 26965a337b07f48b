-- End a job as failed, with a sentence for the user and the details beside it; its unfinished rows fail with it.
with failed as (
  update public.jobs j
  set status = 'failed', completed_at = now(), worker_id = null, error_message = %(message)s,
    errors = coalesce(j.errors, '[]') || %(error)s::jsonb,
    metadata = case when jsonb_typeof(j.metadata) = 'object' then j.metadata else '{}' end || jsonb_build_object(
      'error_type', %(error)s::jsonb -> 'type', 'job_type', j.job_type, 'timestamp', now(),
      'traceback', %(error)s::jsonb -> 'traceback'
    )
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
  returning j.id
),
images as (
  update public.images i set status = 'failed', error_message = %(message)s, updated_at = now()
  from failed
  where i.job_id = failed.id and i.status is distinct from 'completed'
),
videos as (
  update public.videos v set status = 'failed', error_message = %(message)s, updated_at = now()
  from failed
  where v.job_id = failed.id and v.status is distinct from 'completed'
)
select id from failed
