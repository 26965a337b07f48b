-- How many jobs of our types were there before the queue and are not over: waiting, and begun by somebody else.
select count(*) filter (where j.status is distinct from 'processing') as waiting,
  count(*) filter (where j.status = 'processing') as begun
from public.jobs j
join consumer.job_types t using (job_type)
where j.engine is null and (j.status in ('queued', 'processing') or j.status is null)
