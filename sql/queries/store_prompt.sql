-- Keep what became of the prompt of a job in hand, before anything is drawn: the next attempt begins with that.
update public.jobs j
set enhanced_prompt = coalesce(%(prompt)s::text, j.enhanced_prompt),
  metadata = case when jsonb_typeof(j.metadata) = 'object' then j.metadata else '{}' end || jsonb_build_object(
    'enhancement', %(enhancement)s::jsonb
  )
where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint and j.status = 'processing'
returning j.id
