-- Transactions that have been open for a minute, and whether they hold locks on the application's tables. No query text.
select a.pid, nullif(a.application_name, '') as application, a.usename as role, a.state, extract(epoch from now() - a.xact_start)::integer as seconds,
  exists (
    select from pg_locks l
    where l.pid = a.pid and l.granted
      and l.relation in (to_regclass('public.jobs'), to_regclass('public.images'), to_regclass('public.videos'))
  ) as blocks
from pg_stat_activity a
where a.datname = current_database() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
  and a.xact_start < clock_timestamp() - interval '1 minute'
union all
select null, x.gid, x.owner, 'prepared', extract(epoch from now() - x.prepared)::integer, true
from pg_prepared_xacts x
where x.database = current_database()
order by seconds desc
