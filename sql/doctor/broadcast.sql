-- What Broadcast needs and has not: its two triggers on each table, the function that sends, the policy of who listens.
select
  array(
    select wanted from unnest(%(tables)s::text[]) as wanted
    where 2 > (
      select count(*) from pg_catalog.pg_trigger t
      where t.tgrelid = to_regclass(wanted) and t.tgname in ('consumer_broadcast_insert', 'consumer_broadcast_update')
    )
    order by 1
  ) as silent,
  to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null as can_send,
  exists (
    select from pg_catalog.pg_policies
    where schemaname = 'realtime' and tablename = 'messages' and policyname = 'consumer_read_own_topic'
  ) as may_listen
