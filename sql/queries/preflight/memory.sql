-- Whether this role can read what the migrations made, and at which revision they are; whose memory it may not read.
select coalesce(bool_or(c.relname = 'created' and f.may_read), false) as created,
  coalesce(bool_or(c.relname = 'alembic_version' and f.may_read), false) as revision,
  min(quote_ident(pg_get_userbyid(c.relowner))) filter (where c.relname = 'created' and not f.may_read) as closed_by
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as may_read
) as f
where n.nspname = 'consumer' and c.relname in ('created', 'alembic_version')
