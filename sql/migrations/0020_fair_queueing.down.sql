-- Undoes 0020: jobs are served in the order in which they came. Held jobs are put in line; limits and weights are gone.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs (CREATE TRIGGER).

set local lock_timeout = '5s';

set local statement_timeout = '60s';

update public.jobs j set start_tag = coalesce(j.queue_at, now())
where j.start_tag is null and j.engine is not null and j.status in ('queued', 'processing');

update public.jobs j set queue_at = coalesce(j.start_tag, now())
where j.status = 'queued' and j.queue_at is null and j.available_at is null and j.engine is not null;

create or replace function consumer.put_in_line() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  kind consumer.job_types;
begin
  select * into kind from consumer.job_types t where t.job_type = new.job_type;
  if not found then
    new.engine := null;
    new.queue_at := null;
    new.worker_id := null;
    new.claim_id := null;
    return new;
  end if;
  if consumer.api_role() then
    new.user_id := coalesce(new.user_id, auth.uid());
    new.created_at := now();
    perform consumer.refuse_unless_plain(new);
  end if;
  new.status := coalesce(new.status, 'queued');
  if new.status = 'processing' then
    raise exception 'status must not be processing: only a claim makes it so.' using errcode = '22023';
  end if;
  new.metadata := coalesce(new.metadata, '{}');
  if jsonb_typeof(new.metadata) <> 'object' then
    raise exception 'metadata must be a JSON object.' using errcode = '22023';
  end if;
  new.engine := kind.engine;
  new.start_tag := clock_timestamp();
  new.queue_at := case
    when new.status = 'queued' and (new.available_at is null or new.available_at <= now()) then new.start_tag
  end;
  return new;
end
$$;

create or replace function consumer.create_rows() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job record;
begin
  for job in
    select j.id, t as kind
    from new_jobs j
    join consumer.job_types t using (job_type)
    where j.status = 'queued' and (j.image_id is not null or j.video_id is not null or j.metadata ? 'image_ids')
  loop
    perform consumer.link_named_rows(j, job.kind) from public.jobs j where j.id = job.id;
  end loop;

  insert into public.images (job_id, user_id, image_index, status, prompt, metadata, managed)
  select j.id, j.user_id, place, 'queued', coalesce(j.original_prompt, j.metadata ->> 'prompt', ''), '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, t) - 1) as place
  where t.medium = 'image' and j.status = 'queued'
  on conflict (job_id, image_index) do nothing;

  insert into public.videos (job_id, user_id, image_index, status, metadata, managed)
  select j.id, j.user_id, place, 'queued', '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, t) - 1) as place
  where t.medium = 'video' and j.status = 'queued'
  on conflict (job_id, image_index) do nothing;
  return null;
end
$$;

create or replace function consumer.keep_in_line() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.start_tag := clock_timestamp();
  new.queue_at := new.start_tag;
  new.worker_id := null;
  new.attempts := 0;
  new.started_at := null;
  new.completed_at := null;
  new.error_message := null;
  return new;
end
$$;

create or replace trigger consumer_keep_in_line
before update of status on public.jobs
for each row when (
  new.engine is not null and new.status = 'queued' and old.status is distinct from 'queued'
  and new.queue_at is null and new.available_at is null
)
execute function consumer.keep_in_line();

create or replace trigger consumer_link_late_row
after update of image_id, video_id on public.jobs
for each row when (
  new.engine is not null and (new.image_id is distinct from old.image_id or new.video_id is distinct from old.video_id)
)
execute function consumer.link_late_row();

create or replace function consumer.wake_idle_worker() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  -- Engines that this transaction has dealt with: the second to the thousandth row of a batch cost next to nothing.
  settled text := coalesce(current_setting('consumer.settled', true), '');
begin
  if position(',' || new.engine || ',' in settled) > 0 then
    return null;
  end if;
  perform set_config('consumer.settled', settled || ',' || new.engine || ',', true);
  if exists (
    select from consumer.workers w
    where w.idle_since is not null and new.engine = any (w.engines)
      and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
  ) then
    perform pg_notify('consumer_jobs', '');
  end if;
  return null;
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

do $$
begin
  execute replace(pg_get_functiondef('consumer.guard_job()'::regprocedure), '''start_tag'', ''finish_tag'',', '''start_tag'',');
  execute replace(
    pg_get_functiondef('consumer.refuse_unless_plain(public.jobs)'::regprocedure),
    'when job.finish_tag is not null then ''finish_tag'' when job.queue_at is not null', 'when job.queue_at is not null'
  );
end
$$;

drop function if exists public.queue_position(uuid);

delete from consumer.created where object = 'public.queue_position(uuid)';

drop function if exists consumer.queue_position(uuid);

drop function if exists consumer.admit(uuid[]);

drop function if exists consumer.line_up(public.jobs, consumer.job_types);

drop function if exists consumer.refuse_if_too_many(uuid);

drop function if exists consumer.one_by_one(uuid);

drop trigger if exists consumer_keep_priority on public.jobs;

drop function if exists consumer.keep_priority();

drop trigger if exists consumer_keep_tag on public.jobs;

drop function if exists consumer.keep_tag();

drop function if exists consumer.charge(uuid, text, timestamptz);

drop function if exists consumer.is_limited(uuid);

drop function if exists consumer.limits_of(uuid);

drop trigger if exists consumer_start_clock on consumer.job_types;

drop function if exists consumer.start_clock();

drop table if exists consumer.user_tags;

drop table if exists consumer.user_limits;

drop function if exists consumer.apply_limits();

drop table if exists consumer.clocks;

alter table consumer.workers drop column if exists job_types;
