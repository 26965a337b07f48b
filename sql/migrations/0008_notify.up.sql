-- What:  a notification on the channel consumer_jobs when a job of ours was inserted and a live worker is idle.
-- Why:   a NOTIFY serialises commits across the whole server, so a busy fleet gets none: its workers look for work
--        when they finish anyway. Decided at commit, by a deferred constraint trigger, for a worker may have gone idle
--        since the INSERT. Constant payload: a thousand rows give one notification. The sweep is the promise behind it.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs (DROP TRIGGER; a constraint trigger cannot be replaced).
-- Undo:  0008_notify.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

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

revoke all on function consumer.wake_idle_worker() from public;

drop trigger if exists consumer_wake_idle_worker on public.jobs;

create constraint trigger consumer_wake_idle_worker
after insert on public.jobs
deferrable initially deferred
for each row when (new.engine is not null and new.status = 'queued')
execute function consumer.wake_idle_worker();
