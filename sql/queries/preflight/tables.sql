-- The application's tables that are there: what they are, whose, and how large.
select c.relname as name, c.relkind::text as kind, pg_get_userbyid(c.relowner) as owner, pg_has_role(c.relowner, 'usage') as owned,
  quote_ident(current_user) as role,
  c.relforcerowsecurity and not (select r.rolbypassrls or r.rolsuper from pg_roles r where r.rolname = current_user) as forced,
  pg_size_pretty(pg_total_relation_size(c.oid)) as size
from pg_class c
where c.relnamespace = to_regnamespace('public') and c.relname in ('jobs', 'images', 'videos')
order by c.relname
