-- Take the jobs of a worker whose heartbeat stood still: another attempt if one is left, failed otherwise. Deleting the
-- worker's row first decides against a heartbeat that arrives at the same moment: one of the two finds the row changed.
-- Where its lock was found free (`unlocked`), it must be free still: see heartbeat.sql.
with dead as (
  delete from consumer.workers w
  where w.id = %(worker_id)s::uuid and w.beats = %(beats)s::bigint and (
    not %(unlocked)s::boolean or not exists (
      select from pg_catalog.pg_locks l
      where l.locktype = 'advisory' and l.classid = 1668247155 and l.objid = w.lock_key::oid and l.objsubid = 2 and l.granted
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
    )
  )
  returning w.id
),
gone as (
  select id from dead
  union
  select %(worker_id)s::uuid where not exists (select from consumer.workers w where w.id = %(worker_id)s::uuid)
),
rescued as (
  update public.jobs j
  set
    status = case when coalesce(j.attempts, 0) < coalesce(j.max_attempts, %(max_attempts)s::integer) then 'queued' else 'failed' end,
    queue_at = case
      when coalesce(j.attempts, 0) < coalesce(j.max_attempts, %(max_attempts)s::integer) then coalesce(j.start_tag, now())
    end,
    completed_at = case
      when coalesce(j.attempts, 0) < coalesce(j.max_attempts, %(max_attempts)s::integer) then null else now()
    end,
    error_message = case
      when coalesce(j.attempts, 0) < coalesce(j.max_attempts, %(max_attempts)s::integer) then j.error_message else %(message)s
    end,
    worker_id = null, available_at = null,
    errors = coalesce(j.errors, '[]') || jsonb_build_object(
      'attempt', j.attempts, 'at', now(), 'worker', j.worker_id, 'type', 'WorkerLost', 'message', %(message)s::text
    )
  from gone
  where j.worker_id is not distinct from gone.id and j.status = 'processing' and j.engine is not null
  returning j.id, j.status
),
images as (
  update public.images i
  set status = rescued.status, progress = null, updated_at = now(),
    error_message = case when rescued.status = 'failed' then %(message)s end
  from rescued
  where i.job_id = rescued.id and (
    i.status = 'processing' or (rescued.status = 'failed' and i.status is distinct from 'completed')
  )
),
videos as (
  update public.videos v
  set status = rescued.status, progress = null, updated_at = now(),
    error_message = case when rescued.status = 'failed' then %(message)s end
  from rescued
  where v.job_id = rescued.id and (
    v.status = 'processing' or (rescued.status = 'failed' and v.status is distinct from 'completed')
  )
),
told as (
  select pg_notify('consumer_jobs', '') where exists (select from rescued where status = 'queued')
)
select rescued.id as job_id, rescued.status from rescued left join told on true
