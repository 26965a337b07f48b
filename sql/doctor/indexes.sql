-- The indexes of these tables; one that is not valid was left by a build that broke off.
select n.nspname || '.' || c.relname as relation, i.relname as name, x.indisunique as is_unique, x.indisvalid as is_valid
from pg_catalog.pg_index x
join pg_catalog.pg_class i on i.oid = x.indexrelid
join pg_catalog.pg_class c on c.oid = x.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname || '.' || c.relname = any (%(tables)s::text[])
