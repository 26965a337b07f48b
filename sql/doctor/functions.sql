-- The functions that can be ours.
select n.nspname || '.' || p.proname as name
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('consumer', 'public')
