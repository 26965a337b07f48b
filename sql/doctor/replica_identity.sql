-- By what these tables' rows are told apart once they are published.
select n.nspname || '.' || c.relname as relation, c.relreplident = 'f' as is_full,
  c.relreplident in ('f', 'i') or (
    c.relreplident = 'd' and exists (select from pg_catalog.pg_index x where x.indrelid = c.oid and x.indisprimary)
  ) as has_one
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname || '.' || c.relname = any (%(tables)s::text[])
order by 1
