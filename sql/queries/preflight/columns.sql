-- Their columns; a domain counts as what it is made of. `most` is the length that a varchar may have.
select c.relname as relation, a.attname as name, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) as type,
  a.attnotnull as required, a.atthasdef or a.attidentity <> '' or t.typdefault is not null as filled,
  case when a.atttypid = 'varchar'::regtype and a.atttypmod > 0 then a.atttypmod - 4 end as most
from pg_class c
join pg_attribute a on a.attrelid = c.oid
join pg_type t on t.oid = a.atttypid
where c.relnamespace = to_regnamespace('public') and c.relname in ('jobs', 'images', 'videos')
  and a.attnum > 0 and not a.attisdropped
order by c.relname, a.attnum
