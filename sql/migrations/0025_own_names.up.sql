-- What:  admit, apply_limits, create_rows, lock_own_job, queue_position and refuse_if_too_many name every column by its table,
--        or hold to their own variables.
-- Why:   where the application's jobs had a column of its own called place, t, j, wanted, holder, sender or most, jobs could
--        not be inserted, cancelled or retried, or limits not be set.
-- Locks: none that anybody waits for (CREATE OR REPLACE FUNCTION).
-- Undo:  0025_own_names.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

create or replace function consumer.admit(users uuid[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  holder uuid;
  most integer;
  job public.jobs;
  kind consumer.job_types;
  total integer := 0;
begin
  foreach holder in array users loop
    -- Whoever has the lock is admitting this user's jobs now, and the next sweep sees what it could not see.
    continue when not exists (
      select from public.jobs j
      where j.user_id = holder and j.status = 'queued' and j.queue_at is null and j.available_at is null and j.engine is not null
    ) or not pg_try_advisory_xact_lock(7121, hashtext(holder::text));
    most := (consumer.limits_of(holder)).max_running;
    for job in
      select h.* from public.jobs h
      where h.user_id = holder and h.status = 'queued' and h.queue_at is null and h.available_at is null and h.engine is not null
      order by h.created_at
      limit case when most is not null then greatest(0, most - (
        select count(*) from public.jobs b
        where b.user_id = holder and b.engine is not null and (b.status = 'processing' or (b.status = 'queued' and b.queue_at is not null))
      )) end
      for update skip locked
    loop
      if job.start_tag is null then
        select * into kind from consumer.job_types t where t.job_type = job.job_type;
        job := consumer.line_up(job, kind);
      end if;
      update public.jobs j set start_tag = job.start_tag, finish_tag = job.finish_tag, queue_at = job.start_tag where j.id = job.id;
      total := total + 1;
    end loop;
  end loop;
  if total > 0 and exists (
    select from consumer.workers w where w.idle_since is not null and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
  ) then
    perform pg_notify('consumer_jobs', '');
  end if;
  return total;
end
$$;

create or replace function consumer.create_rows() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job record;
begin
  perform consumer.refuse_if_too_many(sender.user_id)
  from (select distinct j.user_id from new_jobs j where j.engine is not null and j.status = 'queued') as sender;
  perform consumer.admit(array(
    select distinct j.user_id from new_jobs j
    where j.engine is not null and j.status = 'queued' and j.queue_at is null and j.available_at is null
  ));
  for job in
    select j.id, row(t.*)::consumer.job_types as kind
    from new_jobs j
    join consumer.job_types t using (job_type)
    where j.status = 'queued' and (j.image_id is not null or j.video_id is not null or j.metadata ? 'image_ids')
  loop
    perform consumer.link_named_rows(row(j.*)::public.jobs, job.kind) from public.jobs j where j.id = job.id;
  end loop;

  insert into public.images (job_id, user_id, image_index, status, prompt, metadata, managed)
  select j.id, j.user_id, p.place, 'queued', coalesce(j.original_prompt, j.metadata ->> 'prompt', ''), '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, row(t.*)::consumer.job_types) - 1) as p (place)
  where t.medium = 'image' and j.status = 'queued'
  on conflict (job_id, image_index) do nothing;

  insert into public.videos (job_id, user_id, image_index, status, metadata, managed)
  select j.id, j.user_id, p.place, 'queued', '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, row(t.*)::consumer.job_types) - 1) as p (place)
  where t.medium = 'video' and j.status = 'queued'
  on conflict (job_id, image_index) do nothing;
  return null;
end
$$;

create or replace function consumer.lock_own_job(wanted uuid) returns public.jobs
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
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
#variable_conflict use_variable
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

create or replace function consumer.apply_limits() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  holder uuid := case when tg_op = 'DELETE' then old.user_id else new.user_id end;
begin
  -- What stands in line already is held, and the sweep admits what may run.
  update public.jobs j set queue_at = null, start_tag = null, finish_tag = null
  where j.status = 'queued' and j.queue_at is not null and j.engine is not null
    and (j.user_id = holder or (holder is null and not exists (select from consumer.user_limits l where l.user_id = j.user_id)))
    and consumer.is_limited(j.user_id);
  perform pg_notify('consumer_jobs', '');
  return null;
end
$$;

create or replace function consumer.refuse_if_too_many(sender uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  most integer := (consumer.limits_of(sender)).max_queued;
  queued bigint;
begin
  if most is null then
    return;
  end if;
  select count(*) into queued from (
    select from public.jobs j where j.user_id = sender and j.status = 'queued' and j.engine is not null limit most + 1::bigint
  ) as found;
  if most = 0 then
    raise exception 'You may queue no jobs at present.' using errcode = 'PT429';
  elsif queued > most then
    -- PostgREST answers with this HTTP status.
    raise exception 'At most % of your jobs may be queued at a time; send this one again when one has started.', most
      using errcode = 'PT429';
  end if;
end
$$;
