-- Which API roles may use the schema consumer, and whether the API shows it: the role authenticator's pgrst.db_schemas.
select
  array(
    select r.rolname::text from pg_catalog.pg_roles r
    where r.rolname in ('anon', 'authenticated', 'service_role') and has_schema_privilege(r.oid, 'consumer', 'usage')
    order by 1
  ) as users,
  exists (
    select from pg_catalog.pg_db_role_setting s
    left join pg_catalog.pg_roles r on r.oid = s.setrole
    left join pg_catalog.pg_database d on d.oid = s.setdatabase
    cross join unnest(s.setconfig) as setting
    where coalesce(r.rolname, 'authenticator') = 'authenticator' and coalesce(d.datname, current_database()) = current_database()
      and setting ~ '^pgrst\.db_schemas=' and 'consumer' = any (regexp_split_to_array(split_part(setting, '=', 2), '[\s,"]+'))
  ) as exposed
