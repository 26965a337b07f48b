-- The foreign keys that refer to images and videos: from where, over which pairs of columns.
select t.relname as target, n.nspname as schema, s.relname as source,
  array(
    select a.attname::text from unnest(c.conkey) with ordinality as k (attnum, place)
    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum order by k.place
  ) as theirs,
  array(
    select a.attname::text from unnest(c.confkey) with ordinality as k (attnum, place)
    join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.attnum order by k.place
  ) as ours
from pg_constraint c
join pg_class t on t.oid = c.confrelid
join pg_class s on s.oid = c.conrelid
join pg_namespace n on n.oid = s.relnamespace
where c.contype = 'f' and c.conparentid = 0 and t.relnamespace = to_regnamespace('public') and t.relname in ('images', 'videos')
