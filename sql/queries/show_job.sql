-- All about one job but its assets; the prompt is shortened.
select j.id, j.user_id, j.job_type, j.engine, j.status, coalesce(j.attempts, 0) as attempts, j.max_attempts,
  case when length(p.prompt) > 80 then left(p.prompt, 79) || '…' else p.prompt end as prompt,
  j.created_at, j.available_at, j.started_at, j.completed_at, j.worker_id, j.error_message,
  coalesce(j.errors, '[]') as errors
from public.jobs j
cross join lateral (select coalesce(j.enhanced_prompt, j.original_prompt, j.metadata ->> 'prompt') as prompt) as p
where j.id = %(job_id)s::uuid
