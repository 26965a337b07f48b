-- The application's triggers that fire when this role writes, and run with its rights. A trigger with a WHEN may not.
select n.nspname || '.' || c.relname as relation, quote_ident(t.tgname) as name, t.tgfoid::regprocedure::text as function,
  p.prosrc as source, t.tgqual is not null as conditional, pg_has_role(p.proowner, 'usage') as owned, current_user::text as role
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_proc p on p.oid = t.tgfoid
join pg_catalog.pg_language l on l.oid = p.prolang
where n.nspname || '.' || c.relname = any (%(tables)s::text[]) and not t.tgisinternal and t.tgenabled in ('O', 'A')
  and not starts_with(t.tgname, 'consumer_') and not p.prosecdef and l.lanname = 'plpgsql'
  and (
    ((t.tgtype & 4) <> 0 and c.relname <> 'jobs' and has_any_column_privilege(c.oid, 'insert'))
    or ((t.tgtype & 16) <> 0 and (
      cardinality(t.tgattr::smallint[]) = 0
      or exists (select from unnest(t.tgattr::smallint[]) as a where has_column_privilege(c.oid, a, 'update'))
    ))
  )
order by 1, 2
