-- Transactions of this database that have been open for long, the oldest first. Vacuum is let through by none of them.
select a.pid, coalesce(nullif(a.application_name, ''), 'a session without a name') as name, a.state,
  clock_timestamp() - a.xact_start as age
from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
  and a.xact_start < clock_timestamp() - make_interval(secs => %(seconds)s::double precision)
order by a.xact_start
limit 10
