-- Those of these keys that any row tells of, in whatever column: a path, an address, a reference. Reads the tables whole.
select distinct t.key
from (
  select substring((regexp_matches(j::text, %(rough)s, 'g'))[1] from %(form)s) as key from public.jobs j
  union all
  select substring((regexp_matches(i::text, %(rough)s, 'g'))[1] from %(form)s) from public.images i
  union all
  select substring((regexp_matches(v::text, %(rough)s, 'g'))[1] from %(form)s) from public.videos v
) as t
where t.key = any (%(keys)s::text[])
