-- The status of one job.
select status from public.jobs where id = %(job_id)s::uuid
