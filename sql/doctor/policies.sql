-- The policies on these tables.
select schemaname || '.' || tablename as relation, policyname as name, permissive = 'PERMISSIVE' as is_permissive, roles::text[] as roles, cmd
from pg_catalog.pg_policies
where schemaname || '.' || tablename = any (%(tables)s::text[])
