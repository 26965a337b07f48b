-- Which of these jobs are of a type that no live worker serves, or are of a type that the queue does not know (engine
-- NULL): how many of each type.
select j.job_type, j.engine, count(*) as jobs
from public.jobs j
where j.id = any (%(job_ids)s::uuid[]) and j.status = 'queued'
  and (j.engine is not null or not exists (select from consumer.job_types t where t.job_type = j.job_type))
  and not exists (
  select from consumer.workers w
  where j.job_type = any (w.job_types) and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
)
group by j.job_type, j.engine
order by j.job_type
