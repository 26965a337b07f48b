-- The triggers on these tables, and when each fires: O and A as they should, D never, R only where a replica writes.
select n.nspname || '.' || c.relname as relation, t.tgname as name, t.tgenabled::text as enabled
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not t.tgisinternal and n.nspname || '.' || c.relname = any (%(tables)s::text[])
