-- Take the job that is next in line for these engines: count the attempt, draw a claim_id, draw the seed once.
-- The heads of the lines are read without a lock, so that only the one row taken is locked, and no line is sorted.
-- MATERIALIZED keeps the planner from evaluating the locked subquery more than once. CASE hides the job types from it:
-- where it believed them to be rare, it would read and sort the whole line instead of walking along the index.
with heads as materialized (
  select e.engine, (
    select min(j.queue_at) from public.jobs j
    where j.engine = e.engine and j.status = 'queued' and j.queue_at is not null
      and case when j.job_type = any (%(job_types)s::text[]) then true end
  ) as queue_at
  from unnest(%(engines)s::text[]) as e (engine)
),
next as materialized (
  select j.id
  from (select engine from heads where queue_at is not null order by queue_at) as h
  cross join lateral (
    select j.id from public.jobs j
    where j.engine = h.engine and j.status = 'queued' and j.queue_at is not null
      and case when j.job_type = any (%(job_types)s::text[]) then true end
    order by j.queue_at, j.id
    limit 1
    for update skip locked
  ) as j
  limit 1
),
claimed as (
  update public.jobs j
  set status = 'processing', claim_id = nextval('consumer.claim_ids'), worker_id = %(worker_id)s::uuid,
    attempts = coalesce(j.attempts, 0) + 1, queue_at = null, available_at = null, started_at = now(),
    metadata = case
      when j.metadata is null then jsonb_build_object('seed', floor(random() * 2147483648)::bigint)
      when jsonb_typeof(j.metadata) = 'object' and coalesce(j.metadata -> 'seed', 'null') = 'null'
        then j.metadata || jsonb_build_object('seed', floor(random() * 2147483648)::bigint)
      else j.metadata
    end
  from next
  where j.id = next.id
  returning j.*
),
busy as (
  update consumer.workers w set idle_since = null
  where w.id = %(worker_id)s::uuid and w.idle_since is not null and exists (select from claimed)
)
select id, user_id, job_type, engine, claim_id, attempts, coalesce(max_attempts, %(max_attempts)s::integer) as max_attempts,
  metadata::text, original_prompt, enhanced_prompt,
  jsonb_array_length(jsonb_path_query_array(errors, '$[*] ? (@.given_back == true)')) as given_back
from claimed
