-- Which of these tables have row level security.
select n.nspname || '.' || c.relname as relation, c.relrowsecurity as is_on
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname || '.' || c.relname = any (%(tables)s::text[])
