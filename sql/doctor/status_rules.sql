-- The CHECKs on the column status of these tables, as expressions.
select n.nspname || '.' || c.relname as relation, quote_ident(r.conname) as name,
  pg_catalog.format_type(a.atttypid, null) as type, pg_catalog.pg_get_expr(r.conbin, r.conrelid) as expression
from pg_catalog.pg_constraint r
join pg_catalog.pg_class c on c.oid = r.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and r.conkey = array[a.attnum]
where r.contype = 'c' and a.attname = 'status' and n.nspname || '.' || c.relname = any (%(tables)s::text[])
order by 1, 2
