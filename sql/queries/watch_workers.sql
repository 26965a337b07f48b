-- Every worker's count of heartbeats, and NULL for a worker that is gone while a job still names it.
select w.id as worker_id, w.beats, w.lease_seconds from consumer.workers w
union all
select distinct j.worker_id, null::bigint, null::double precision
from public.jobs j
where j.status = 'processing' and j.engine is not null
  and not exists (select from consumer.workers w where w.id = j.worker_id)
