-- Say that this worker lives.
insert into consumer.workers as w (id, name, engines, lease_seconds, idle_since)
values (
  %(worker_id)s::uuid, %(name)s, %(engines)s::text[], %(lease_seconds)s::double precision,
  case when %(idle)s::boolean then now() end
)
on conflict (id) do update
set heartbeat_at = now(), beats = w.beats + 1,
  idle_since = case when %(idle)s::boolean then coalesce(w.idle_since, now()) end
