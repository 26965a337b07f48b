-- The engines whose oldest job in line has been waiting for long.
select j.engine, count(*) as jobs, now() - min(j.created_at) as age
from public.jobs j
where j.status = 'queued' and j.queue_at is not null and j.engine is not null
group by j.engine
having min(j.created_at) < now() - make_interval(secs => %(seconds)s::double precision)
order by 1
