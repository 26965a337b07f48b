-- What:  the column finish_tag and the indexes of fair queueing on jobs, and the one that makes idempotency keys mean something.
--
--          jobs_line_idx: the line of each job type and priority, in the order of service; the claim reads its head;
--          jobs_user_tag_idx: a user's last finish_tag with an engine, for the next job's start_tag;
--          jobs_user_queue_idx: a user's queued jobs, for max_queued and max_running;
--          jobs_held_idx: jobs that max_running holds back; empty where there is no such limit;
--          jobs_idempotency_key_idx: unique: a user's second INSERT of a job of ours with the same key is refused.
--
-- Why:   a claim, an INSERT and a limit must cost the same whatever is queued, delayed, served by nobody or finished.
-- Locks: built CONCURRENTLY, outside a transaction: each waits up to ten minutes for older transactions, and no
--        read or write waits for it; each reads its table once. INVALID leftovers of an earlier try and jobs_claim_idx,
--        which was the line of each engine, are dropped (ACCESS EXCLUSIVE for a moment, as for the new column; no rewrite).
-- Undo:  0019_line_indexes.down.sql.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = 0;

select consumer.add_column('public.jobs', 'finish_tag', 'timestamptz');

do $$
declare
  doubled bigint;
  leftover text;
begin
  select count(*) into doubled from (
    select from public.jobs where idempotency_key is not null and engine is not null group by user_id, idempotency_key having count(*) > 1
  ) as keys;
  if doubled > 0 then
    raise exception 'There are % idempotency_keys that one user has on several jobs: set all but one of each to NULL.', doubled;
  end if;
  for leftover in
    select indexrelid::regclass::text from pg_catalog.pg_index
    where not indisvalid and indexrelid = any (array[
      to_regclass('public.jobs_line_idx'),
      to_regclass('public.jobs_user_tag_idx'),
      to_regclass('public.jobs_user_queue_idx'),
      to_regclass('public.jobs_held_idx'),
      to_regclass('public.jobs_idempotency_key_idx')
    ]::oid[])
  loop
    execute 'drop index ' || leftover;
  end loop;
end
$$;

-- An index that is there already under this name is the application's, and stays when this is undone.
insert into consumer.created (object)
select 'index ' || name from unnest(array[
  'public.jobs_line_idx',
  'public.jobs_user_tag_idx',
  'public.jobs_user_queue_idx',
  'public.jobs_held_idx',
  'public.jobs_idempotency_key_idx'
]) as name
where to_regclass(name) is null
on conflict do nothing;

set lock_timeout = '10min';

create index concurrently if not exists jobs_line_idx on public.jobs (job_type, priority, queue_at, created_at) where status = 'queued' and queue_at is not null and engine is not null;

create index concurrently if not exists jobs_user_tag_idx on public.jobs (user_id, engine, finish_tag) where finish_tag is not null;

create index concurrently if not exists jobs_user_queue_idx on public.jobs (user_id, queue_at) where status = 'queued' and engine is not null;

create index concurrently if not exists jobs_held_idx on public.jobs (user_id, created_at) where status = 'queued' and queue_at is null and available_at is null and engine is not null;

create unique index concurrently if not exists jobs_idempotency_key_idx on public.jobs (user_id, idempotency_key) where idempotency_key is not null and engine is not null;

-- Under its name an index of the application may stand there.
set lock_timeout = '5s';

do $$
begin
  delete from consumer.created where object = 'index public.jobs_claim_idx';
  if found then
    drop index if exists public.jobs_claim_idx;
  end if;
end
$$;

reset statement_timeout;

reset lock_timeout;
