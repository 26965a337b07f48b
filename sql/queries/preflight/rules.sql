-- The CHECKs of the tables, each as an expression over its columns.
select c.relname as relation, o.conname as name, pg_get_expr(o.conbin, o.conrelid) as expression,
  array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum = any (o.conkey) order by a.attnum) as columns,
  (
    select format_type(a.atttypid, null) from pg_attribute a
    where a.attrelid = c.oid and a.attnum = o.conkey[1] and cardinality(o.conkey) = 1
  ) as type
from pg_constraint o
join pg_class c on c.oid = o.conrelid
where o.contype = 'c' and c.relnamespace = to_regnamespace('public') and c.relname in ('jobs', 'images', 'videos')
  and o.conname !~ '^consumer_[0-9]+$'
order by c.relname, o.conname
