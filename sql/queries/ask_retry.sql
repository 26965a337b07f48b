-- Call retry_job as the operator: the status that the job has now.
select public.retry_job(%(job_id)s::uuid) as status
