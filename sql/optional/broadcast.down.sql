-- Undoes broadcast.up.sql; messages that were sent stay until Realtime removes them.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
begin
  if to_regclass('realtime.messages') is not null then
    drop policy if exists consumer_read_own_topic on realtime.messages;
  end if;
end
$$;

drop trigger if exists consumer_broadcast_update on public.videos;

drop trigger if exists consumer_broadcast_insert on public.videos;

drop trigger if exists consumer_broadcast_update on public.images;

drop trigger if exists consumer_broadcast_insert on public.images;

drop trigger if exists consumer_broadcast_update on public.jobs;

drop trigger if exists consumer_broadcast_insert on public.jobs;

drop function if exists consumer.broadcast();

delete from consumer.created where object = 'broadcast';
