-- Which of these functions there are.
select name from unnest(array['public.cancel_job(uuid)', 'public.retry_job(uuid)']) as name where to_regprocedure(name) is not null
