-- Take the jobs that are next in line.
-- At most {limit}; `served` are all types that this worker ever claims, `job_types` those it claims now. Count the attempt,
-- draw a claim_id, draw the seed once. Each job type and priority is a line of its own, in the order of start-time fair
-- queueing. The first of all lines in that order is next; one of higher priority goes before it for as long as it has
-- waited less than so many seconds for each step (ten at most) of the difference. The lines that have jobs are found by
-- skipping along the index from before the first one, and their heads are read without a lock, so that only rows that are
-- taken are locked, and nothing is sorted but heads. From a line's first row on, for what was claimed before it stays in
-- the index until no transaction is older than its claim. One job is looked for among the first eight of each line, for
-- others may have locked some, and after the eighth. Of several (`many` instead of `one`), each line gives its share; a
-- second look takes what comes next where others have locked that. MATERIALIZED keeps the planner from evaluating the
-- locked subquery more than once.
with recursive lines as (
  select coalesce(j.job_type, '') as job_type, j.priority, j.queue_at from (select (null::public.jobs).*) as j
  union all
  select line.*
  from lines l, lateral (
    select j.job_type, j.priority, j.queue_at from public.jobs j
    where j.status = 'queued' and j.queue_at is not null and j.engine is not null and (j.job_type, j.priority) > (l.job_type, l.priority)
    order by j.job_type, j.priority, j.queue_at, j.created_at
    limit 1
  ) as line
),
heads as (
  select l.job_type, l.priority, head.*
  from lines l, lateral (
    select j.id, j.queue_at, j.created_at
-- one
      , row_number() over (order by j.queue_at, j.created_at) = 8 as last
-- many
-- end
    from public.jobs j
    where j.job_type = l.job_type and j.priority = l.priority and j.queue_at >= l.queue_at and j.status = 'queued' and j.queue_at is not null and j.engine is not null
    order by j.queue_at, j.created_at
-- one
    limit 8
-- many
    limit {limit}
-- end
  ) as head
  where l.job_type = any (%(served)s)
),
fair as (
  select priority, case when isfinite(created_at) then extract(epoch from now() - created_at) end as waited
  from heads
  where job_type = any (%(job_types)s)
  order by queue_at, created_at
  limit 1
),
ranked as (
  select h.*, case
    when h.priority > fair.priority
      and coalesce(fair.waited, 0) < least(h.priority::bigint - fair.priority, 10) * %(priority_seconds)s
      then h.priority
    else fair.priority
  end as rank
  from heads h, fair
  where h.job_type = any (%(job_types)s)
),
-- one
next as materialized (
  select j.id
  from (
    select job_type, priority, queue_at as since,
      case when last then 'infinity' else queue_at end as until, case when last then 'infinity' else created_at end as created
    from ranked
    order by rank desc, queue_at, created_at
  ) as share, lateral (
    select j.id from public.jobs j
    where j.job_type = share.job_type and j.priority = share.priority and j.status = 'queued' and j.queue_at is not null and j.engine is not null
      and j.queue_at >= share.since and (j.queue_at, j.created_at) <= (share.until, share.created)
    order by j.queue_at, j.created_at
    limit 1
    for update skip locked
  ) as j
  limit 1
),
-- many
places as (
  select *, row_number() over (order by rank desc, queue_at, created_at) as place from ranked
),
shares as (
  select job_type, priority, min(place) as place, min(queue_at) as since,
    max(queue_at) as until, (array_agg(created_at order by place desc))[1] as created, 1 as look
  from places
  where place <= {limit}
  group by job_type, priority
  union all
  select job_type, priority, min(place), coalesce(max(queue_at) filter (where place <= {limit}), min(queue_at)), 'infinity', 'infinity', 2
  from places
  group by job_type, priority
),
next as materialized (
  select j.id
  from (select * from shares order by look, place) as share, lateral (
    select j.id from public.jobs j
    where j.job_type = share.job_type and j.priority = share.priority and j.status = 'queued' and j.queue_at is not null and j.engine is not null
      and j.queue_at >= share.since and (j.queue_at, j.created_at) <= (share.until, share.created)
    order by j.queue_at, j.created_at
    limit {limit}
    for update skip locked
  ) as j
  limit {limit}
),
-- end
claimed as (
  update public.jobs
  set status = 'processing', claim_id = nextval('consumer.claim_ids'), worker_id = %(worker_id)s::uuid,
    attempts = least(coalesce(attempts, 0), 999999) + 1, queue_at = null, available_at = null, started_at = now(),
    metadata = case
      when jsonb_typeof(metadata) <> 'object' or metadata -> 'seed' <> 'null' then metadata
      else coalesce(metadata, '{}') || jsonb_build_object('seed', floor(random() * 2147483648)::bigint)
    end
  -- Not a join, for which the planner might read all jobs.
  where id = any (array(select id from next))
  returning *
),
-- The clock is at what was claimed, or at what was passed over for it; of all engines that this worker serves, or one that
-- rests would come in before them, for as long as it rested.
latest as (
  select least(max(c.start_tag), (select min(queue_at) from heads where id not in (select id from claimed))) as tag from claimed c
),
-- No claim waits for another one to tell the time: that one has claimed at about the same place.
slots as (
  select c.engine, c.slot, latest.tag
  from consumer.clocks c, latest
  where c.engine in (select t.engine from consumer.job_types t where t.job_type = any (%(served)s))
    and c.slot = mod(pg_backend_pid(), 16) and c.tag < latest.tag
  for update of c skip locked
),
told as (
  update consumer.clocks c set tag = s.tag from slots s where c.engine = s.engine and c.slot = s.slot
),
busy as (
  update consumer.workers w set idle_since = null
  where w.id = %(worker_id)s::uuid and w.idle_since is not null and exists (select from claimed)
)
select id, user_id, job_type, engine, claim_id, attempts, max_attempts,
  metadata::text, original_prompt, enhanced_prompt,
  nullif(errors, '[]')::text as errors,
  exists (
    select from consumer.user_limits l where (l.user_id = claimed.user_id or l.user_id is null) and l.max_running is not null
  ) as limited,
-- one
  (
    select consumer.pending_images(claimed.id) from consumer.job_types t where t.job_type = claimed.job_type and t.medium = 'image'
  ) as pending
from claimed
-- many
  i.pending
from claimed
left join consumer.pending_images(
  array(select c.id from claimed c join consumer.job_types t using (job_type) where t.medium = 'image')
) as i on i.job_id = claimed.id
left join (select id, place from places) as p using (id)
order by p.place, start_tag, created_at
-- end
