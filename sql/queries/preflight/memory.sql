-- Whether this role can read what the migrations made, and at which revision they are.
select coalesce(bool_or(c.relname = 'created'), false) as created, coalesce(bool_or(c.relname = 'alembic_version'), false) as revision
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'consumer' and c.relname in ('created', 'alembic_version')
  and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
