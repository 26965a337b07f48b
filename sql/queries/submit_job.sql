-- Queue a job as a frontend does: whose it is, what it makes, and the request. All else is the queue's to set.
insert into public.jobs (user_id, job_type, original_prompt, metadata)
values (%(user_id)s::uuid, %(job_type)s, %(prompt)s, %(metadata)s::jsonb)
returning id
