-- Whether a job is in the queue's hands, and whether it could be.
select j.status, j.engine, exists (select from consumer.job_types t where t.job_type = j.job_type) as known
from public.jobs j
where j.id = %(job_id)s::uuid
