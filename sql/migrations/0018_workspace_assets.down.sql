-- Undoes 0018; the rows of workspace_assets stay. Refuses while Broadcast is on, which needs what older revisions made.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs (DROP TRIGGER); the index is dropped CONCURRENTLY.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = '60s';

-- Tried first.
do $$
begin
  if exists (select from consumer.created where object = 'broadcast') then
    raise exception 'Broadcast is on; take it out first: consumer migrate broadcast --off.';
  end if;
end
$$;

drop trigger if exists consumer_fill_workspace_assets on public.jobs;

drop function if exists consumer.fill_workspace_assets();

drop table if exists consumer.workspace_assets;

set lock_timeout = '10min';

set statement_timeout = 0;

drop index concurrently if exists public.consumer_workspace_assets_key;

reset statement_timeout;

reset lock_timeout;
