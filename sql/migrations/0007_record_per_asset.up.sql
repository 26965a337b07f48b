-- What:  inserting a job creates its rows in images (index 0..N-1) or videos in the same transaction; a job of our
--        job types is put in line; what may not be sent is refused in one sentence. An application's own row for the
--        same (job_id, image_index) replaces ours.
-- Why:   a job never exists without its rows, so a result is always an UPDATE, which a frontend can subscribe to.
-- Locks: SHARE ROW EXCLUSIVE for a moment on jobs, images and videos (CREATE TRIGGER).
-- Undo:  0007_record_per_asset.down.sql.
--
-- A job type that consumer.job_types does not name belongs to somebody else: no rows, no place in line, no refusal.
-- Functions are SECURITY DEFINER (the sender has no rights on consumer). Their search_path names pg_temp, last: left out
-- it would come first, and whoever can make a temporary type called jsonb would have code run as the owner.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

create or replace function consumer.api_role() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  -- The role that PostgREST set for this transaction; SECURITY DEFINER changes current_user but not this.
  select coalesce(current_setting('role', true), 'none') in ('anon', 'authenticated')
$$;

create or replace function consumer.asset_count(metadata jsonb, kind consumer.job_types) returns integer
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  sent jsonb := metadata -> 'num_images';
  amount numeric := kind.default_count;
begin
  if sent is not null and sent <> 'null' then
    amount := case
      when jsonb_typeof(sent) = 'number' then (sent #>> '{}')::numeric
      when jsonb_typeof(sent) = 'string' and sent #>> '{}' ~ '^[0-9]{1,9}$' then (sent #>> '{}')::numeric
    end;
  end if;
  if amount is null or amount <> trunc(amount) or amount not between 1 and kind.max_count then
    raise exception 'num_images must be a whole number from 1 to %.', kind.max_count using errcode = '22023';
  end if;
  return amount;
end
$$;

create or replace function consumer.refuse_unless_plain(job public.jobs) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  field text;
begin
  if job.user_id is distinct from auth.uid() then
    raise exception 'user_id must be your own id.' using errcode = '42501';
  end if;
  -- 3 is the column default of max_attempts on tables that existed before us, and so is no offence.
  field := case
    when coalesce(job.status, 'queued') <> 'queued' then 'status'
    when coalesce(job.attempts, 0) <> 0 then 'attempts'
    when job.max_attempts is not null and job.max_attempts is distinct from 3 then 'max_attempts'
    when coalesce(job.priority, 0) <> 0 then 'priority'
    when job.available_at is not null then 'available_at'
    when job.start_tag is not null then 'start_tag'
    when job.queue_at is not null then 'queue_at'
    when job.engine is not null then 'engine'
    when job.worker_id is not null then 'worker_id'
    when job.claim_id is not null then 'claim_id'
    when job.started_at is not null then 'started_at'
    when job.completed_at is not null then 'completed_at'
    when job.error_message is not null then 'error_message'
    when coalesce(job.errors, '[]') <> '[]' then 'errors'
  end;
  if field is not null then
    raise exception '% is set by the queue; leave it out.', field using errcode = '42501';
  end if;
  field := case
    when octet_length(job.metadata::text) > 65536 then 'metadata'
    when octet_length(job.original_prompt) > 65536 then 'original_prompt'
    when octet_length(job.enhanced_prompt) > 65536 then 'enhanced_prompt'
    when octet_length(job.idempotency_key) > 65536 then 'idempotency_key'
  end;
  if field is not null then
    raise exception '% must be at most 64 KiB.', field using errcode = '22023';
  end if;
  if job.image_id is not null and not exists (select from public.images i where i.id = job.image_id and i.user_id = job.user_id) then
    raise exception 'image_id must name an image of your own.' using errcode = '42501';
  end if;
  if job.video_id is not null and not exists (select from public.videos v where v.id = job.video_id and v.user_id = job.user_id) then
    raise exception 'video_id must name a video of your own.' using errcode = '42501';
  end if;
end
$$;

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

create or replace function consumer.link_named_rows(job public.jobs, kind consumer.job_types) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  named record;
begin
  if kind.medium = 'video' then
    update public.videos v set job_id = job.id, image_index = coalesce(v.image_index, 0)
    where v.id = job.video_id and v.user_id = job.user_id and v.job_id is null and v.status is distinct from 'completed';
    return;
  end if;
  for named in
    select id, min(place) as place
    from (
      select job.image_id as id, 0 as place
      union all
      select case when value ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' then value::uuid end, ordinality::integer - 1
      from jsonb_array_elements_text(
        case when jsonb_typeof(job.metadata -> 'image_ids') = 'array' then job.metadata -> 'image_ids' else '[]' end
      ) with ordinality
      where ordinality <= 100
    ) as names
    where id is not null and place < consumer.asset_count(job.metadata, kind)
    group by id
    order by place
  loop
    update public.images i set job_id = job.id, image_index = coalesce(i.image_index, named.place)
    where i.id = named.id and i.user_id = job.user_id and i.job_id is null and i.status is distinct from 'completed'
      and not exists (
        select from public.images taken
        where taken.job_id = job.id and taken.image_index = coalesce(i.image_index, named.place)
      );
  end loop;
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

create or replace function consumer.make_room() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  known boolean;
  owner uuid;
  state text;
  ours record;
begin
  if tg_op = 'UPDATE' then
    known := new.job_id is not distinct from old.job_id and new.image_index is not distinct from old.image_index;
  else
    -- An upsert of a row that is there already: if it goes on, it comes here again as an UPDATE.
    execute format('select exists (select from %s a where a.id = $1)', tg_relid::regclass) into known using new.id;
  end if;
  if known then
    return new;
  end if;
  -- Job before image, as every write of the worker does, so that the two can wait for each other but never deadlock.
  select j.user_id, j.status into owner, state from public.jobs j where j.id = new.job_id and j.engine is not null for no key update;
  if not found then
    return new;
  end if;
  if owner is distinct from new.user_id and consumer.api_role() then
    raise exception 'job_id must name a job of your own.' using errcode = '42501';
  end if;
  -- A claim gives a row without an index one; to a row that comes after it nobody else would.
  if new.image_index is null and state in ('processing', 'completed') then
    execute format(
      'select a.image_index from %s a where a.job_id = $1 and a.user_id = $2 and a.managed and a.image_index >= 0
       order by a.status is not distinct from ''completed'', a.image_index limit 1',
      tg_relid::regclass
    ) into new.image_index using new.job_id, new.user_id;
  end if;
  if new.image_index is null or new.image_index < 0 then
    return new;
  end if;
  execute format(
    'select * from %s a where a.job_id = $1 and a.image_index = $2 and a.user_id = $3 and a.managed and a.id <> $4 for update',
    tg_relid::regclass
  ) into ours using new.job_id, new.image_index, new.user_id, new.id;
  if ours.id is null then
    return new;
  end if;
  if ours.status <> 'queued' then
    new.status := ours.status;
  end if;
  new.thumbnail_url := coalesce(ours.thumbnail_url, new.thumbnail_url);
  new.metadata := coalesce(new.metadata, '{}') || coalesce(ours.metadata, '{}');
  new.format := coalesce(ours.format, new.format);
  new.seed := coalesce(ours.seed, new.seed);
  new.file_size := coalesce(ours.file_size, new.file_size);
  new.progress := coalesce(ours.progress, new.progress);
  new.error_message := coalesce(ours.error_message, new.error_message);
  new.updated_at := now();
  if tg_table_name = 'images' then
    new.image_url := coalesce(ours.image_url, new.image_url);
  else
    new.video_url := coalesce(ours.video_url, new.video_url);
    new.duration := coalesce(ours.duration, new.duration);
    new.resolution := coalesce(ours.resolution, new.resolution);
    new.completed_at := coalesce(ours.completed_at, new.completed_at);
  end if;
  -- Ours steps out of the key, and stays until jobs.image_id, whose deletion may cascade, points to the new row.
  execute format('update %s set image_index = -1 - image_index where id = $1', tg_relid::regclass) using ours.id;
  return new;
end
$$;

create or replace function consumer.replace_ours() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_table_name = 'images' then
    update public.jobs j set image_id = new.id
    from public.images ours
    where j.id = new.job_id and j.image_id = ours.id
      and ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
    delete from public.images ours
    where ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
  else
    update public.jobs j set video_id = new.id
    from public.videos ours
    where j.id = new.job_id and j.video_id = ours.id
      and ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
    delete from public.videos ours
    where ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
  end if;
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

create or replace function consumer.link_late_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update public.images i set job_id = new.id, image_index = coalesce(i.image_index, 0)
  where new.image_id is distinct from old.image_id and i.id = new.image_id and i.user_id = new.user_id
    and i.job_id is null and i.status is distinct from 'completed' and not exists (
      select from public.images taken
      where taken.job_id = new.id and taken.image_index = coalesce(i.image_index, 0) and not taken.managed
    );
  update public.videos v set job_id = new.id, image_index = coalesce(v.image_index, 0)
  where new.video_id is distinct from old.video_id and v.id = new.video_id and v.user_id = new.user_id
    and v.job_id is null and v.status is distinct from 'completed' and not exists (
      select from public.videos taken
      where taken.job_id = new.id and taken.image_index = coalesce(v.image_index, 0) and not taken.managed
    );
  return null;
end
$$;

revoke all on function
  consumer.api_role(),
  consumer.asset_count(jsonb, consumer.job_types),
  consumer.refuse_unless_plain(public.jobs),
  consumer.put_in_line(),
  consumer.link_named_rows(public.jobs, consumer.job_types),
  consumer.create_rows(),
  consumer.make_room(),
  consumer.replace_ours(),
  consumer.link_late_row(),
  consumer.keep_in_line()
from public;

create or replace trigger consumer_put_in_line
before insert on public.jobs
for each row execute function consumer.put_in_line();

-- Queued by hand, as in a dashboard: without a place in line nobody would ever take it.
create or replace trigger consumer_keep_in_line
before update of status on public.jobs
for each row when (
  new.engine is not null and new.status = 'queued' and old.status is distinct from 'queued'
  and new.queue_at is null and new.available_at is null
)
execute function consumer.keep_in_line();

create or replace trigger consumer_create_rows
after insert on public.jobs
referencing new table as new_jobs
for each statement execute function consumer.create_rows();

create or replace trigger consumer_make_room
before insert or update of job_id, image_index on public.images
for each row when (new.job_id is not null and not new.managed)
execute function consumer.make_room();

create or replace trigger consumer_replace_ours
after insert or update of job_id, image_index on public.images
for each row when (new.job_id is not null and new.image_index >= 0 and not new.managed)
execute function consumer.replace_ours();

create or replace trigger consumer_make_room
before insert or update of job_id, image_index on public.videos
for each row when (new.job_id is not null and not new.managed)
execute function consumer.make_room();

create or replace trigger consumer_replace_ours
after insert or update of job_id, image_index on public.videos
for each row when (new.job_id is not null and new.image_index >= 0 and not new.managed)
execute function consumer.replace_ours();

-- A browser links its video to its job after the INSERT, and maybe after the claim: jobs.video_id is all that it writes.
create or replace trigger consumer_link_late_row
after update of image_id, video_id on public.jobs
for each row when (
  new.engine is not null and (new.image_id is distinct from old.image_id or new.video_id is distinct from old.video_id)
)
execute function consumer.link_late_row();
