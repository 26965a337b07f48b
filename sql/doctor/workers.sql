-- Workers that sent a heartbeat within two leases and those that did not, the jobs held by none of the
-- former, and those of which it is not said who holds them.
with workers as (
  select w.id, w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds) as lives from consumer.workers w
)
select
  (select count(*) from workers where lives) as live,
  (select count(*) from workers where not lives) as dead,
  (
    select count(*) from public.jobs j
    where j.status = 'processing' and j.engine is not null and j.worker_id is not null
      and not exists (select from workers w where w.id = j.worker_id and w.lives)
  ) as stuck,
  (
    select count(*) from public.jobs j where j.status = 'processing' and j.engine is not null and j.worker_id is null
  ) as lost
