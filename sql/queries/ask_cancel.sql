-- Call cancel_job as the operator: the status that the job has now.
select public.cancel_job(%(job_id)s::uuid) as status
