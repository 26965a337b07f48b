-- What the migrations need around the tables. By the catalog alone: a name in a schema that is closed to this role is an error.
with users as (
  select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'auth' and c.relname = 'users'
),
private as (
  select n.oid, pg_has_role(n.nspowner, 'usage') as owned, exists (
    select from pg_class c where c.relnamespace = n.oid and c.relname in ('alembic_version', 'created', 'orphans')
  ) as ours
  from pg_namespace n where n.nspname = 'consumer'
)
select
  array(
    select r from unnest(array['anon', 'authenticated', 'service_role']) as r
    where not exists (select from pg_roles where rolname = r)
  ) as missing_roles,
  has_database_privilege(current_database(), 'create') as may_create_schema,
  has_schema_privilege('public', 'create') as may_create_in_public,
  exists (select from users) as has_users,
  coalesce((select has_table_privilege(oid, 'references') from users), false) as may_refer_to_users,
  exists (select from private) as has_schema,
  coalesce((select owned from private), false) as owns_schema,
  coalesce((select ours from private), false) as is_our_schema,
  exists (
    select from pg_class c join private on private.oid = c.relnamespace
    where c.relkind in ('r', 'v', 'm', 'p', 'f') and c.relname <> 'alembic_version'
  ) as schema_holds_relations
