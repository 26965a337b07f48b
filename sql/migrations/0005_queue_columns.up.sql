-- What:  the columns of the queue on jobs, what a result row needs besides, and the tables consumer.job_types and
--        consumer.workers.
-- Why:   engine: what runs the job, NULL for a job type that is not ours. available_at: not before. start_tag: the
--        job's place in the order of service; queue_at: the same while the job stands in line, NULL while it does
--        not (not due, running, over). claim_id: drawn anew by every claim, named by every later write. managed:
--        the row was made by our trigger and not by the application.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs, images and videos; constant defaults, no rewrite.
-- Undo:  0005_queue_columns.down.sql; refuses while a job is processing, or while a table that we created holds rows.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

select consumer.add_column(relation, name, definition)
from (
  values
    ('public.jobs', 'engine', 'text'),
    ('public.jobs', 'priority', 'integer not null default 0'),
    ('public.jobs', 'available_at', 'timestamptz'),
    ('public.jobs', 'start_tag', 'timestamptz'),
    ('public.jobs', 'queue_at', 'timestamptz'),
    ('public.jobs', 'worker_id', 'uuid'),
    ('public.jobs', 'claim_id', 'bigint'),
    ('public.jobs', 'idempotency_key', 'text'),
    ('public.jobs', 'errors', 'jsonb not null default ''[]'''),
    ('public.images', 'managed', 'boolean not null default false'),
    ('public.images', 'progress', 'smallint'),
    ('public.images', 'error_message', 'text'),
    ('public.videos', 'managed', 'boolean not null default false'),
    ('public.videos', 'progress', 'smallint'),
    ('public.videos', 'seed', 'bigint'),
    ('public.videos', 'file_size', 'bigint')
) as needed (relation, name, definition);

create sequence if not exists consumer.claim_ids as bigint;

create table if not exists consumer.job_types (
  job_type text primary key,
  engine text not null,
  medium text not null constraint job_types_medium_check check (medium in ('image', 'video')),
  default_count integer not null,
  max_count integer not null,
  cost double precision not null constraint job_types_cost_check check (cost > 0),
  pushed_at timestamptz not null default now(),
  constraint job_types_count_check check (1 <= default_count and default_count <= max_count)
);

comment on table consumer.job_types is 'What the triggers know of a job type; written by `consumer job-types push` from the TOML.';

create table if not exists consumer.workers (
  id uuid primary key,
  name text not null,
  engines text[] not null,
  lease_seconds double precision not null,
  started_at timestamptz not null default now(),
  heartbeat_at timestamptz not null default now(),
  beats bigint not null default 0,
  idle_since timestamptz
);

comment on table consumer.workers is 'One row per live worker process; idle_since is NULL while it has work in hand.';

alter table consumer.job_types enable row level security;

alter table consumer.workers enable row level security;
