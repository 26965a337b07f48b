-- The workers that are gone while a job still names them; NULL stands for jobs that name none.
select distinct j.worker_id
from public.jobs j
where j.status = 'processing' and j.engine is not null
  and not exists (select from consumer.workers w where w.id = j.worker_id)
