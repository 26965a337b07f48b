-- Link the rows that a job names to it, as an insert would.
select consumer.link_named_rows(j, t)
from public.jobs j
join consumer.job_types t using (job_type)
where j.id = %(job_id)s::uuid
