-- Write one picture's result into its row, if this claim still holds the job. The lock on the job, taken before the
-- image's, makes this wait for a concurrent rescue, and see what it did. A job that its own last result has completed,
-- by a statement whose reply was lost, counts as held.
with held as materialized (
  select j.id, j.status from public.jobs j
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status in ('processing', 'completed')
  for share
),
recorded as (
  update public.images i
  set status = 'completed', image_url = %(url)s, thumbnail_url = %(thumbnail_url)s, seed = %(seed)s::bigint,
    file_size = %(file_size)s::bigint, format = %(format)s, progress = 100, error_message = null,
    metadata = case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{}' end || %(metadata)s::jsonb, updated_at = now()
  from held
  where held.status = 'processing' and i.job_id = held.id and i.image_index = %(index)s::integer and i.status is distinct from 'completed'
  returning i.id
)
select exists (select from held) as held, exists (select from recorded) as recorded
