-- What:  cancel_job, retry_job and queue_position refuse a job that is not there, or not the caller's, with the SQLSTATE PT404.
-- Why:   the REST API answers 404 to that, and 500 to P0002, the one before.
-- Locks: none that anybody waits for (CREATE OR REPLACE FUNCTION).
-- Undo:  0023_no_such_job.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

create or replace function consumer.lock_own_job(wanted uuid) returns public.jobs
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  job public.jobs;
begin
  select * into job from public.jobs j
  where j.id = wanted and j.engine is not null and (not consumer.api_role() or j.user_id = auth.uid())
  for update;
  if not found then
    raise exception 'There is no such job of yours.' using errcode = 'PT404';
  end if;
  return job;
end
$$;

create or replace function consumer.queue_position(wanted uuid) returns integer
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  job public.jobs;
  place timestamptz;
  ahead bigint;
begin
  select * into job from public.jobs j
  where j.id = wanted and j.engine is not null and (not consumer.api_role() or j.user_id = auth.uid());
  if not found then
    raise exception 'There is no such job of yours.' using errcode = 'PT404';
  end if;
  if job.status <> 'queued' then
    return case when job.status = 'processing' then 0 end;
  end if;
  -- Whoever is not in line yet would come in at the clock.
  place := coalesce(job.queue_at, job.start_tag, greatest(
    (select max(j.finish_tag) from public.jobs j where j.user_id = job.user_id and j.engine = job.engine and j.finish_tag is not null),
    (select max(c.tag) from consumer.clocks c where c.engine = job.engine)
  ));
  select count(*) into ahead from (
    select found.* from consumer.job_types t
    cross join lateral (
      (select from public.jobs j
      where j.job_type = t.job_type and j.status = 'queued' and j.queue_at is not null and j.engine is not null and j.priority = job.priority
        and (j.queue_at, j.created_at) < (place, job.created_at)
      limit 1000)
      union all
      (select from public.jobs j
      where j.job_type = t.job_type and j.status = 'queued' and j.queue_at is not null and j.engine is not null and j.priority > job.priority
      limit 1000)
    ) as found
    where t.engine = job.engine
    limit 999
  ) as nearest;
  return 1 + ahead;
end
$$;
