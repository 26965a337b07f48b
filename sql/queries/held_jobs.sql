-- Which jobs the database believes this worker holds. A statement of its own, after the heartbeat, so that it sees what
-- a rescue did that the heartbeat had to wait for.
select j.id as job_id, j.claim_id from public.jobs j where j.worker_id = %(worker_id)s::uuid and j.status = 'processing'
