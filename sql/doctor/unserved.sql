-- The queued jobs that no live worker serves, by job type; engine is NULL where the queue does not know the type, and then
-- the type is whatever a user sent.
select case when j.job_type ~ '^[a-z0-9_]{1,64}$' then j.job_type else 'of an odd job type' end as job_type, j.engine, count(*) as jobs
from public.jobs j
where j.status = 'queued' and case
  when j.engine is null then not exists (select from consumer.job_types t where t.job_type = j.job_type)
  else not exists (
    select from consumer.workers w
    where j.job_type = any (w.job_types) and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
  )
end
group by 1, 2
order by 1, 2
limit 20
