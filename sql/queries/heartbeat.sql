-- Say that this worker lives, and read which jobs the database believes it holds.
with beat as (
  insert into consumer.workers as w (id, name, engines, lease_seconds, idle_since)
  values (
    %(worker_id)s::uuid, %(name)s, %(engines)s::text[], %(lease_seconds)s::double precision,
    case when %(idle)s::boolean then now() end
  )
  on conflict (id) do update
  set heartbeat_at = now(), beats = w.beats + 1,
    idle_since = case when %(idle)s::boolean then coalesce(w.idle_since, now()) end
)
select j.id as job_id, j.claim_id from public.jobs j where j.worker_id = %(worker_id)s::uuid and j.status = 'processing'
