-- What these roles may do with these tables: privileges on the table or on any of its columns.
select r.rolname as role, wanted.relation, array_agg(p.privilege order by p.place) as privileges
from unnest(%(tables)s::text[]) as wanted (relation)
cross join pg_catalog.pg_roles r
cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'])
  with ordinality as p (privilege, place)
where r.rolname in ('anon', 'authenticated') and case
  when p.privilege in ('delete', 'truncate', 'trigger') then has_table_privilege(r.oid, wanted.relation, p.privilege)
  else has_any_column_privilege(r.oid, wanted.relation, p.privilege)
end
group by r.rolname, wanted.relation
