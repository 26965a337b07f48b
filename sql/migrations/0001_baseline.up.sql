-- What:  the application's tables jobs, images and videos, created where they do not exist; where they do, only
--        the columns that this system reads or writes and that are missing are added.
--        The schema consumer, private to this system, remembers in consumer.created what the migrations made.
-- Why:   jobs is the queue, images and videos hold one row per result.
-- Locks: on an existing table ACCESS EXCLUSIVE for the moment of ADD COLUMN (nullable, no rewrite); on auth.users SHARE
--        ROW EXCLUSIVE for the moment in which new tables come to refer to it.
-- Undo:  0001_baseline.down.sql drops only what is named in consumer.created, and refuses while rows are there.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

create schema if not exists consumer;

revoke all on schema consumer from public;

create table if not exists consumer.created (
  object text primary key,
  at timestamptz not null default now()
);

alter table consumer.created enable row level security;

comment on table consumer.created is 'What the migrations created, and so may drop: tables, columns as table.column, functions, publications.';

create or replace function consumer.add_column(relation text, name text, definition text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = relation::regclass and a.attname = name and not a.attisdropped
  ) then
    return;
  end if;
  execute format('alter table %s add column %I %s', relation, name, definition);
  insert into consumer.created (object) values (relation || '.' || name) on conflict do nothing;
end
$$;

create or replace function consumer.drop_column(relation text, name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  delete from consumer.created where object = relation || '.' || name;
  if found then
    execute format('alter table if exists %s drop column if exists %I', relation, name);
  end if;
end
$$;

create or replace function consumer.refuse_while_rows(revision text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  relation text;
  filled boolean;
begin
  for relation in
    -- CASE, because the names of columns are there as well, and to_regclass would take one for a table elsewhere.
    select object from consumer.created
    where case when object in ('public.jobs', 'public.images', 'public.videos') then to_regclass(object) is not null end
    order by object desc
  loop
    execute format('select exists (select from %s)', relation) into filled;
    if filled then
      raise exception 'The table % holds rows; move or delete them before going below revision %.', relation, revision;
    end if;
  end loop;
end
$$;

revoke all on function
  consumer.add_column(text, text, text), consumer.drop_column(text, text), consumer.refuse_while_rows(text)
from public;

insert into consumer.created (object)
select name from unnest(array['public.jobs', 'public.images', 'public.videos']) as name
where to_regclass(name) is null
on conflict do nothing;

create table if not exists public.jobs (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  job_type text not null,
  status text not null default 'queued'
    constraint jobs_status_check check (status in ('queued', 'processing', 'completed', 'failed', 'cancelled')),
  original_prompt text,
  enhanced_prompt text,
  metadata jsonb not null default '{}',
  error_message text,
  attempts integer not null default 0,
  max_attempts integer,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz
);

create table if not exists public.images (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  job_id uuid constraint images_job_id_fkey references public.jobs (id) on delete cascade,
  title text,
  prompt text not null default '',
  status text not null default 'queued'
    constraint images_status_check check (status in ('queued', 'processing', 'completed', 'failed', 'cancelled')),
  image_url text,
  thumbnail_url text,
  image_urls jsonb,
  metadata jsonb not null default '{}',
  format text default 'png',
  seed bigint,
  file_size bigint,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table if not exists public.videos (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  title text,
  status text not null default 'queued'
    constraint videos_status_check check (status in ('queued', 'processing', 'completed', 'failed', 'cancelled')),
  video_url text,
  thumbnail_url text,
  duration integer,
  resolution text,
  format text default 'mp4',
  metadata jsonb not null default '{}',
  error_message text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  completed_at timestamptz
);

-- On a new link a deleted picture leaves its job alone; an existing one keeps the rule that it has.
select consumer.add_column(relation, name, definition)
from (
  values
    ('public.jobs', 'status', 'text default ''queued'''),
    ('public.jobs', 'original_prompt', 'text'),
    ('public.jobs', 'enhanced_prompt', 'text'),
    ('public.jobs', 'metadata', 'jsonb'),
    ('public.jobs', 'error_message', 'text'),
    ('public.jobs', 'attempts', 'integer'),
    ('public.jobs', 'max_attempts', 'integer'),
    ('public.jobs', 'started_at', 'timestamptz'),
    ('public.jobs', 'completed_at', 'timestamptz'),
    ('public.jobs', 'image_id', 'uuid references public.images (id) on delete set null'),
    ('public.jobs', 'video_id', 'uuid references public.videos (id) on delete set null'),
    ('public.images', 'job_id', 'uuid references public.jobs (id) on delete cascade'),
    ('public.images', 'image_url', 'text'),
    ('public.images', 'thumbnail_url', 'text'),
    ('public.images', 'metadata', 'jsonb'),
    ('public.images', 'format', 'text'),
    ('public.images', 'seed', 'bigint'),
    ('public.images', 'file_size', 'bigint'),
    ('public.images', 'updated_at', 'timestamptz'),
    ('public.videos', 'video_url', 'text'),
    ('public.videos', 'thumbnail_url', 'text'),
    ('public.videos', 'duration', 'integer'),
    ('public.videos', 'resolution', 'text'),
    ('public.videos', 'format', 'text'),
    ('public.videos', 'metadata', 'jsonb'),
    ('public.videos', 'error_message', 'text'),
    ('public.videos', 'updated_at', 'timestamptz'),
    ('public.videos', 'completed_at', 'timestamptz')
) as needed (relation, name, definition);

-- Closed to everybody until the revision that opens them row by row; an existing table keeps its rights.
do $$
declare
  relation text;
begin
  for relation in select object from consumer.created where object in ('public.jobs', 'public.images', 'public.videos') loop
    execute format('alter table %s enable row level security', relation);
    execute format('revoke all on table %s from public, anon, authenticated, service_role', relation);
  end loop;
end
$$;
