-- The same in the table that some applications have beside ours.
select distinct t.key
from (
  select substring((regexp_matches(w::text, %(rough)s, 'g'))[1] from %(form)s) as key from public.workspace_assets w
) as t
where t.key = any (%(keys)s::text[])
