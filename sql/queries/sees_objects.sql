-- Whether this role sees every row of storage.objects.
select exists (
  select from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'storage' and c.relname = 'objects' and has_schema_privilege(n.oid, 'usage')
    and has_table_privilege(c.oid, 'select') and not row_security_active(c.oid)
) as answer
