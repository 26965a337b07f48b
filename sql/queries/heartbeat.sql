-- Say that this worker lives, and look at everybody's row: one statement, for it runs every two seconds. `unlocked`: the
-- lock that a silent worker named is free, and so its connection is gone. A server that was started since then has lost all
-- locks, which tells nothing of the workers. The locks are looked at for the silent alone: that reads those of everybody.
with beat as (
  insert into consumer.workers as w (id, name, engines, job_types, lease_seconds, idle_since, lock_key)
  values (
    %(worker_id)s::uuid, %(name)s, %(engines)s::text[], %(job_types)s::text[], %(lease_seconds)s::double precision,
    case when %(idle)s::boolean then now() end, %(lock_key)s::integer
  )
  on conflict (id) do update
  -- Idleness is what the claim and mark_idle say: this one may have been sent before.
  set heartbeat_at = now(), beats = w.beats + 1, lock_key = excluded.lock_key
)
select w.id as worker_id, w.beats, w.lease_seconds,
  case
    when w.lock_key is not null and w.heartbeat_at > pg_postmaster_start_time() and w.heartbeat_at < now() - interval '3 seconds'
    then not exists (
      select from pg_catalog.pg_locks l
      where l.locktype = 'advisory' and l.classid = 1668247155 and l.objid = w.lock_key::oid and l.objsubid = 2 and l.granted
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
    )
    else false
  end as unlocked
from consumer.workers w
