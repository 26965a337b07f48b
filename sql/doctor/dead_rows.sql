-- The tables that have many dead rows, and more of them than live ones.
select schemaname || '.' || relname as relation, n_dead_tup as dead, n_live_tup as live
from pg_catalog.pg_stat_all_tables
where schemaname || '.' || relname = any (%(tables)s::text[]) and n_dead_tup >= %(least)s::bigint and n_dead_tup > n_live_tup
order by 1
