-- What EXPLAIN does not tell of the current role's rights: the sequence, and policies that would show it no row.
select current_user::text as role, has_sequence_privilege('consumer.claim_ids', 'usage') as draws,
  array(
    select wanted from unnest(%(tables)s::text[]) as wanted
    where row_security_active(wanted) and not exists (
      select from pg_catalog.pg_policies p
      where p.schemaname || '.' || p.tablename = wanted and p.permissive = 'PERMISSIVE' and p.cmd in ('ALL', 'UPDATE')
        and ('public' = any (p.roles) or exists (
          select from pg_catalog.pg_roles r where r.rolname = any (p.roles) and pg_has_role(r.oid, 'usage')
        ))
    )
    order by 1
  ) as hidden
