-- The parked jobs that nobody has begun, oldest first, created between two times where asked for.
select j.id from public.jobs j
join consumer.job_types t using (job_type)
where j.engine is null and (j.status = 'queued' or j.status is null)
  and (%(after)s::timestamptz is null or j.created_at >= %(after)s::timestamptz)
  and (%(before)s::timestamptz is null or j.created_at <= %(before)s::timestamptz)
order by j.created_at nulls first, j.id
