-- For each use of a table: what grants it to this role, and whether the role may do it wholly, in every column. A role that
-- does not exist has what everybody has; a table that is not there is done to by nobody wholly.
with wanted as (
  select u.schema, u.name, u.action, coalesce((select r.rolname::text from pg_roles r where r.rolname = %(role)s::text), 'public') as role
  from unnest(%(schemas)s::text[], %(names)s::text[], %(actions)s::text[]) as u (schema, name, action)
)
select quote_ident(w.schema) || '.' || quote_ident(w.name) as relation, w.action,
  coalesce(has_table_privilege(w.role, c.oid, w.action), false) as wholly,
  array_remove(array[
    case when not has_schema_privilege(w.role, n.oid, 'usage')
      then 'grant usage on schema ' || quote_ident(w.schema) || ' to ' || quote_ident(%(role)s::text) || ';' end,
    case
      when w.action = 'delete' and has_table_privilege(w.role, c.oid, 'delete') then null
      when w.action <> 'delete' and has_any_column_privilege(w.role, c.oid, w.action) then null
      else 'grant ' || w.action || ' on table ' || c.oid::regclass || ' to ' || quote_ident(%(role)s::text) || ';'
    end,
    case
      when w.action = 'insert' and c.relrowsecurity and not exists (
        select from pg_policy p
        where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('*', 'a') and exists (
          select from unnest(p.polroles) as r where r = 0 or (w.role <> 'public' and pg_has_role(w.role, r, 'usage'))
        )
      ) and not exists (
        select from pg_roles r where r.rolname = w.role and (
          r.rolsuper or r.rolbypassrls or (not c.relforcerowsecurity and pg_has_role(r.oid, c.relowner, 'usage'))
        )
      )
      then 'create policy consumer_worker on ' || c.oid::regclass || ' for insert to ' || quote_ident(%(role)s::text) || ' with check (true);'
    end,
    case when w.action = 'insert' then (
      select string_agg('grant usage on sequence ' || s.oid::regclass || ' to ' || quote_ident(%(role)s::text) || ';', ' ')
      from pg_depend d
      join pg_class s on s.oid = d.objid and s.relkind = 'S'
      where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.deptype = 'a'
        and not has_sequence_privilege(w.role, s.oid, 'usage, update')
    ) end
  ], null) as grants
from wanted w
left join pg_namespace n on n.nspname = w.schema
left join pg_class c on c.relnamespace = n.oid and c.relname = w.name and c.relkind in ('r', 'p', 'v', 'f')
order by 1, 2
