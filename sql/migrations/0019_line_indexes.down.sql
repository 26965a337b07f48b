-- Undoes 0019: the line of each engine is indexed as before. An index that was there before, under our name, stays.
-- Locks: jobs_claim_idx is built CONCURRENTLY; ACCESS EXCLUSIVE for a moment on jobs (DROP INDEX, DROP COLUMN).
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = 0;

do $$
begin
  if exists (select from pg_catalog.pg_index where indexrelid = to_regclass('public.jobs_claim_idx') and not indisvalid) then
    drop index public.jobs_claim_idx;
  end if;
end
$$;

insert into consumer.created (object)
select 'index public.jobs_claim_idx' where to_regclass('public.jobs_claim_idx') is null
on conflict do nothing;

set lock_timeout = '10min';

create index concurrently if not exists jobs_claim_idx on public.jobs (engine, queue_at, id) where status = 'queued' and queue_at is not null;

set lock_timeout = '5s';

do $$
declare
  index text;
begin
  foreach index in array array[
    'public.jobs_line_idx',
    'public.jobs_user_tag_idx',
    'public.jobs_user_queue_idx',
    'public.jobs_held_idx',
    'public.jobs_idempotency_key_idx'
  ] loop
    delete from consumer.created where object = 'index ' || index;
    if found then
      execute 'drop index if exists ' || index;
    end if;
  end loop;
end
$$;

select consumer.drop_column('public.jobs', 'finish_tag');

reset statement_timeout;

reset lock_timeout;
