-- What:  the order of service becomes start-time fair queueing: each job that comes in line gets a start_tag, the virtual
--        time at which its user's turn for it begins, and a finish_tag, so much later as the job costs (seconds of the
--        average GPU, less for a user of more weight). start_tag = the later of the user's last finish_tag with this
--        engine and the engine's clock, which claims move to what they take, or pass over. Jobs are served by start_tag,
--        within the bounds of priority and affinity, which the claim knows. consumer.user_limits holds weights and limits
--        of users; a job that exceeds max_queued is refused, and those that exceed max_running are held: queued, outside
--        the line, without a time. queue_position(job_id) tells a frontend how many jobs come first.
-- Why:   a user with one job is not behind another's thousand; who used idle capacity is not punished for it.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs (CREATE TRIGGER).
-- Undo:  0020_fair_queueing.down.sql; jobs in line keep their order.
--
-- An INSERT takes no lock that another INSERT would wait for longer than a moment, whatever the order of its users: a
-- user's last finish_tag is read from an index, not written to a row. Two transactions of one user that insert at the
-- same time would read the same one, and so a user could have many jobs for the price of one: the first user of a
-- transaction is locked for its length. Only the first, so that no two INSERTs can wait for each other in a circle, and with
-- some patience; batches of many users come from somebody who is trusted.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

alter table consumer.workers add column if not exists job_types text[] not null default '{}';

comment on column consumer.workers.job_types is 'What it serves; of an engine it may serve some types alone.';

create table if not exists consumer.clocks (
  engine text not null,
  slot bigint not null,
  tag timestamptz not null,
  primary key (engine, slot)
);

comment on table consumer.clocks is 'Each engine''s clock: the latest start_tag claimed from it. Several slots, so that claims do not wait for each other; -1 is for inserts.';

create table if not exists consumer.user_limits (
  id bigint generated always as identity primary key,
  user_id uuid constraint user_limits_user_id_key unique nulls not distinct,
  weight double precision not null default 1 constraint user_limits_weight_check check (weight between 0.01 and 100),
  max_queued integer constraint user_limits_max_queued_check check (max_queued >= 0),
  max_running integer constraint user_limits_max_running_check check (max_running >= 1)
);

comment on table consumer.user_limits is 'Weights and limits of users, NULL for no limit; the row without user_id is for everybody who has none.';

create table if not exists consumer.user_tags (
  user_id uuid,
  engine text,
  tag timestamptz not null,
  primary key (user_id, engine)
);

comment on table consumer.user_tags is 'The last finish_tag of jobs that their user deleted or sent again: the service was given all the same.';

alter table consumer.user_tags enable row level security;

drop policy if exists consumer_nobody on consumer.user_tags;

create policy consumer_nobody on consumer.user_tags using (false);

alter table consumer.clocks enable row level security;

alter table consumer.user_limits enable row level security;

create or replace function consumer.start_clock() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into consumer.clocks (engine, slot, tag)
  select new.engine, slot, coalesce((select max(c.tag) from consumer.clocks c), now()) from generate_series(-1, 15) as slot
  on conflict do nothing;
  return null;
end
$$;

create or replace trigger consumer_start_clock
after insert or update of engine on consumer.job_types
for each row execute function consumer.start_clock();

insert into consumer.clocks (engine, slot, tag)
select distinct engine, slot, now() from consumer.job_types cross join generate_series(-1, 15) as slot
on conflict do nothing;

create or replace function consumer.limits_of(wanted uuid) returns consumer.user_limits
language sql stable set search_path = pg_catalog, pg_temp as $$
  select l from consumer.user_limits l where l.user_id = wanted or l.user_id is null order by l.user_id limit 1
$$;

create or replace function consumer.one_by_one(sender uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  patience text := current_setting('lock_timeout');
begin
  if coalesce(current_setting('consumer.sender', true), '') <> '' then
    return;
  end if;
  perform set_config('consumer.sender', sender::text, true);
  if pg_try_advisory_xact_lock(7120, hashtext(sender::text)) then
    return;
  end if;
  begin
    perform set_config('lock_timeout', case when consumer.api_role() then '3s' else '800ms' end, true);
    perform pg_advisory_xact_lock(7120, hashtext(sender::text));
    perform set_config('lock_timeout', patience, true);
  exception
    when lock_not_available then
      if consumer.api_role() then
        raise exception 'You send too many jobs at the same time; send this one again.' using errcode = 'PT429';
      end if;
  end;
end
$$;

create or replace function consumer.refuse_if_too_many(sender uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off as $$
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

create or replace function consumer.is_limited(wanted uuid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select (consumer.limits_of(wanted)).max_running is not null
$$;

-- A session keeps the plans that it makes here, perhaps made when the table was empty: only its indexes may be used.
create or replace function consumer.line_up(job public.jobs, kind consumer.job_types) returns public.jobs
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  seconds double precision := coalesce(kind.cost * consumer.asset_count(job.metadata, kind) / kind.default_count, 1)
    / coalesce((consumer.limits_of(job.user_id)).weight, 1);
  clock timestamptz := (select max(c.tag) from consumer.clocks c where c.engine = job.engine);
  head record;
begin
  select j.queue_at, j.attempts into head from public.jobs j
  where j.job_type = job.job_type and j.priority = job.priority and j.status = 'queued' and j.queue_at is not null and j.engine is not null
  order by j.queue_at, j.created_at
  limit 1;
  if not found and not exists (
    select from consumer.job_types t
    where t.engine = job.engine and exists (
      select from public.jobs j where j.job_type = t.job_type and j.status = 'queued' and j.queue_at is not null and j.engine is not null
    )
  ) then
    -- Nobody waits for this engine: it comes in where the others are, or it would go before them for as long as it rested.
    select greatest(clock, max(c.tag)) into clock from consumer.clocks c;
    begin
      update consumer.clocks c set tag = clock
      where (c.engine, c.slot) in (
        select o.engine, o.slot from consumer.clocks o where o.engine = job.engine and o.slot = -1 and o.tag < clock
        for update skip locked
      );
    exception
      -- In a transaction that sees the past, somebody else has set the clock meanwhile.
      when serialization_failure then null;
    end;
  elsif head.attempts = 0 then
    -- A line that is served more slowly than others of its engine: nobody new waits behind all that stands there.
    clock := least(clock, head.queue_at);
  end if;
  job.start_tag := coalesce(greatest(
    (select max(j.finish_tag) from public.jobs j where j.user_id = job.user_id and j.engine = job.engine and j.finish_tag is not null),
    (select t.tag from consumer.user_tags t where t.user_id = job.user_id and t.engine = job.engine),
    clock
  ), now());
  job.finish_tag := job.start_tag + make_interval(secs => seconds);
  job.queue_at := job.start_tag;
  return job;
end
$$;

create or replace function consumer.admit(users uuid[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off as $$
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

comment on function consumer.admit(uuid[]) is 'Put held jobs of these users in line, as far as max_running lets them, and wake an idle worker; says how many.';

create or replace function consumer.charge(sender uuid, wanted text, served timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if served > (select max(c.tag) from consumer.clocks c where c.engine = wanted) then
    insert into consumer.user_tags as t (user_id, engine, tag) values (sender, wanted, served)
    on conflict (user_id, engine) do update set tag = greatest(t.tag, excluded.tag);
    -- What the clock has passed says nothing any more.
    delete from consumer.user_tags t
    where (t.user_id, t.engine) in (
      select o.user_id, o.engine from consumer.user_tags o
      where o.tag < (select max(c.tag) from consumer.clocks c where c.engine = o.engine)
      limit 10
      for update skip locked
    );
  end if;
end
$$;

comment on function consumer.charge(uuid, text, timestamptz) is 'Remember a service that was given, where its job will not tell of it any more.';

create or replace function consumer.keep_tag() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform consumer.charge(old.user_id, old.engine, old.finish_tag);
  return null;
end
$$;

create or replace trigger consumer_keep_tag
after delete on public.jobs
for each row when (old.engine is not null and old.claim_id is not null)
execute function consumer.keep_tag();

create or replace function consumer.apply_limits() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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

create or replace trigger consumer_apply_limits
after insert or update or delete on consumer.user_limits
for each row execute function consumer.apply_limits();

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
  if length(new.idempotency_key) > 255 then
    raise exception 'idempotency_key must be at most 255 characters.' using errcode = '22023';
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
  new.priority := coalesce(new.priority, 0);
  new.queue_at := null;
  if new.status = 'queued' then
    perform consumer.one_by_one(new.user_id);
    -- Whose time has not come, or who is held, gets its place when it comes in line.
    new.start_tag := null;
    new.finish_tag := null;
    if new.available_at <= now() then
      new.available_at := null;
    end if;
    if new.available_at is null and not consumer.is_limited(new.user_id) then
      new := consumer.line_up(new, kind);
    end if;
  end if;
  return new;
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
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  kind consumer.job_types;
begin
  select * into kind from consumer.job_types t where t.job_type = new.job_type;
  new.priority := coalesce(new.priority, 0);
  new.worker_id := null;
  new.attempts := 0;
  new.started_at := null;
  new.completed_at := null;
  new.error_message := null;
  new.start_tag := null;
  new.finish_tag := null;
  if new.available_at <= now() then
    new.available_at := null;
  end if;
  if new.available_at is not null or consumer.is_limited(new.user_id) then
    return new;
  end if;
  return consumer.line_up(new, kind);
end
$$;

create or replace trigger consumer_keep_in_line
before update of status, engine, available_at on public.jobs
for each row when (
  new.engine is not null and new.status = 'queued' and new.queue_at is null and (
    old.engine is null or (old.status is distinct from 'queued' and new.available_at is null)
    or (old.available_at is not null and new.available_at is null and new.start_tag is null)
  )
)
execute function consumer.keep_in_line();

-- A table that was there may have a column priority that knows NULL, and a line is found by its number.
create or replace function consumer.keep_priority() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.priority := 0;
  return new;
end
$$;

create or replace trigger consumer_keep_priority
before update of priority on public.jobs
for each row when (new.engine is not null and new.priority is null)
execute function consumer.keep_priority();

update public.jobs set priority = 0 where priority is null and engine is not null;

-- The job types of a worker are known now: it is woken for those alone.
create or replace function consumer.wake_idle_worker() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  -- Job types that this transaction has dealt with: the second to the thousandth row of a batch cost next to nothing.
  settled text := coalesce(current_setting('consumer.settled', true), '');
begin
  if position(',' || new.job_type || ',' in settled) > 0 then
    return null;
  end if;
  perform set_config('consumer.settled', settled || ',' || new.job_type || ',', true);
  if exists (
    select from consumer.workers w
    where w.idle_since is not null and (new.job_type = any (w.job_types) or (w.job_types = '{}' and new.engine = any (w.engines)))
      and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
  ) then
    perform pg_notify('consumer_jobs', '');
  end if;
  return null;
end
$$;

-- A completion names its first result by itself.
create or replace trigger consumer_link_late_row
after update of image_id, video_id on public.jobs
for each row when (
  new.engine is not null and new.status is not distinct from old.status
  and (new.image_id is distinct from old.image_id or new.video_id is distinct from old.video_id)
)
execute function consumer.link_late_row();

create or replace function consumer.cancel_job(wanted uuid) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job public.jobs := consumer.lock_own_job(wanted);
begin
  if job.status not in ('queued', 'processing') then
    return job.status;
  end if;
  update public.jobs j
  set status = 'cancelled', queue_at = null, available_at = null, worker_id = null, completed_at = now(),
    -- What was never served is not counted as service.
    finish_tag = case when job.status = 'processing' or job.attempts > 0 then j.finish_tag end
  where j.id = job.id;
  update public.images i set status = 'cancelled', updated_at = now()
  where i.job_id = job.id and coalesce(i.status, 'queued') not in ('completed', 'failed', 'cancelled');
  update public.videos v set status = 'cancelled', updated_at = now()
  where v.job_id = job.id and coalesce(v.status, 'queued') not in ('completed', 'failed', 'cancelled');
  if job.status = 'processing' then
    perform pg_notify('consumer_cancel', job.id::text);
  end if;
  perform consumer.admit(array[job.user_id]);
  return 'cancelled';
end
$$;

create or replace function consumer.retry_job(wanted uuid) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job public.jobs := consumer.lock_own_job(wanted);
  kind consumer.job_types;
begin
  if job.status not in ('failed', 'cancelled') then
    return job.status;
  end if;
  select * into kind from consumer.job_types t where t.job_type = job.job_type;
  perform consumer.one_by_one(job.user_id);
  perform consumer.charge(job.user_id, job.engine, job.finish_tag);
  job.queue_at := null;
  job.start_tag := null;
  job.finish_tag := null;
  if not consumer.is_limited(job.user_id) then
    job := consumer.line_up(job, kind);
  end if;
  update public.jobs j
  set status = 'queued', attempts = 0, start_tag = job.start_tag, finish_tag = job.finish_tag, queue_at = job.queue_at, available_at = null, worker_id = null,
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
  perform consumer.refuse_if_too_many(job.user_id);
  perform consumer.admit(array[job.user_id]);
  perform pg_notify('consumer_jobs', '');
  return 'queued';
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
    raise exception 'There is no such job of yours.' using errcode = 'P0002';
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

insert into consumer.created (object)
select 'public.queue_position(uuid)' where to_regprocedure('public.queue_position(uuid)') is null
on conflict do nothing;

do $$
begin
  if not exists (select from consumer.created where object = 'public.queue_position(uuid)') then
    raise exception 'There is already a function public.queue_position(uuid), and it is not ours; rename it first.';
  end if;
end
$$;

-- Parsed here and now, a body of this kind needs no right on the schema consumer when it is called.
create or replace function public.queue_position(job_id uuid) returns integer
language sql stable set search_path = pg_catalog, pg_temp
return consumer.queue_position(job_id);

comment on function public.queue_position(uuid) is 'The place of a job of yours in line: 1 is next, 0 is running, NULL is over; 1000 stands for 1000 or more.';

revoke all on function
  consumer.start_clock(), consumer.limits_of(uuid), consumer.is_limited(uuid), consumer.charge(uuid, text, timestamptz), consumer.keep_tag(), consumer.keep_priority(), consumer.one_by_one(uuid), consumer.refuse_if_too_many(uuid),
  consumer.line_up(public.jobs, consumer.job_types), consumer.admit(uuid[]), consumer.apply_limits(),
  consumer.queue_position(uuid)
from public;

revoke all on function public.queue_position(uuid) from public, anon;

grant execute on function consumer.queue_position(uuid), public.queue_position(uuid) to authenticated, service_role;

-- Users are kept from the tags by 0007 at the INSERT and by 0015 afterwards; finish_tag is one more.
do $$
declare
  body text := pg_get_functiondef('consumer.guard_job()'::regprocedure);
  plain text := pg_get_functiondef('consumer.refuse_unless_plain(public.jobs)'::regprocedure);
begin
  if strpos(plain, 'finish_tag') = 0 then
    execute replace(plain, 'when job.queue_at is not null', 'when job.finish_tag is not null then ''finish_tag'' when job.queue_at is not null');
  end if;
  if strpos(body, '''finish_tag''') = 0 then
    execute replace(body, '''start_tag'',', '''start_tag'', ''finish_tag'',');
  end if;
end
$$;

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'consumer_worker') then
    return;
  end if;
  grant select, update (tag) on table consumer.clocks to consumer_worker;
  grant select on table consumer.user_limits to consumer_worker;
  grant execute on function consumer.admit(uuid[]) to consumer_worker;
  drop policy if exists consumer_worker on consumer.clocks;
  create policy consumer_worker on consumer.clocks to consumer_worker using (true) with check (true);
  drop policy if exists consumer_worker on consumer.user_limits;
  create policy consumer_worker on consumer.user_limits to consumer_worker using (true);
end
$$;
