-- What:  cancel_job(job_id) and retry_job(job_id), which a frontend calls by rpc for its own jobs. Each returns the
--        job's status afterwards, and changes nothing where there is nothing to cancel or to retry.
--        A function of the application that has one of these names is not replaced: this revision refuses.
-- Why:   users may not write to jobs, and a cancel must reach a running worker. What frontends call has their own rights
--        and only passes the id on; what has the owner's is in the schema consumer, where no frontend can name it.
-- Locks: none on tables.
-- Undo:  0010_cancel_and_retry.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

insert into consumer.created (object)
select name from unnest(array['public.cancel_job(uuid)', 'public.retry_job(uuid)']) as name
where to_regprocedure(name) is null
on conflict do nothing;

do $$
declare
  name text;
begin
  foreach name in array array['public.cancel_job(uuid)', 'public.retry_job(uuid)'] loop
    if not exists (select from consumer.created where object = name) then
      raise exception 'There is already a function %, and it is not ours; rename it first.', name;
    end if;
  end loop;
end
$$;

create or replace function consumer.lock_own_job(wanted uuid) returns public.jobs
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  job public.jobs;
begin
  select * into job from public.jobs j
  where j.id = wanted and j.engine is not null and (not consumer.api_role() or j.user_id = auth.uid())
  for update;
  if not found then
    raise exception 'There is no such job of yours.' using errcode = 'P0002';
  end if;
  return job;
end
$$;

create or replace function consumer.cancel_job(wanted uuid) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job public.jobs := consumer.lock_own_job(wanted);
begin
  if job.status not in ('queued', 'processing') then
    return job.status;
  end if;
  update public.jobs j set status = 'cancelled', queue_at = null, available_at = null, worker_id = null, completed_at = now()
  where j.id = job.id;
  update public.images i set status = 'cancelled', updated_at = now()
  where i.job_id = job.id and coalesce(i.status, 'queued') not in ('completed', 'failed', 'cancelled');
  update public.videos v set status = 'cancelled', updated_at = now()
  where v.job_id = job.id and coalesce(v.status, 'queued') not in ('completed', 'failed', 'cancelled');
  if job.status = 'processing' then
    perform pg_notify('consumer_cancel', job.id::text);
  end if;
  return 'cancelled';
end
$$;

create or replace function consumer.retry_job(wanted uuid) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job public.jobs := consumer.lock_own_job(wanted);
  place timestamptz := clock_timestamp();
begin
  if job.status not in ('failed', 'cancelled') then
    return job.status;
  end if;
  update public.jobs j
  set status = 'queued', attempts = 0, start_tag = place, queue_at = place, available_at = null, worker_id = null,
    error_message = null, started_at = null, completed_at = null,
    metadata = case
      when jsonb_typeof(j.metadata) = 'object' then j.metadata - array['error_type', 'job_type', 'timestamp', 'traceback', 'progress']
      else '{}'
    end
  where j.id = job.id;
  update public.images i set status = 'queued', progress = null, error_message = null, updated_at = now()
  where i.job_id = job.id and i.image_index is not null and i.status is distinct from 'completed';
  update public.videos v set status = 'queued', progress = null, error_message = null, updated_at = now()
  where v.job_id = job.id and v.image_index is not null and v.status is distinct from 'completed';
  perform pg_notify('consumer_jobs', '');
  return 'queued';
end
$$;

-- Parsed here and now, a body of this kind needs no right on the schema consumer when it is called.
create or replace function public.cancel_job(job_id uuid) returns text
language sql set search_path = pg_catalog, pg_temp
return consumer.cancel_job(job_id);

create or replace function public.retry_job(job_id uuid) returns text
language sql set search_path = pg_catalog, pg_temp
return consumer.retry_job(job_id);

revoke all on function consumer.lock_own_job(uuid), consumer.cancel_job(uuid), consumer.retry_job(uuid) from public;

revoke all on function public.cancel_job(uuid), public.retry_job(uuid) from public, anon;

grant execute on function consumer.cancel_job(uuid), consumer.retry_job(uuid), public.cancel_job(uuid), public.retry_job(uuid)
to authenticated, service_role;
