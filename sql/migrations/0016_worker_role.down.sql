-- Undoes 0016 in this database. The role goes where the migrations made it and nothing refers to it any more, in this
-- database or in another one; otherwise it stays.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  relation text;
begin
  foreach relation in array array['public.jobs', 'public.images', 'public.videos', 'consumer.job_types', 'consumer.workers'] loop
    execute format('drop policy if exists consumer_worker on %s', relation);
  end loop;
  if not exists (select from pg_catalog.pg_roles where rolname = 'consumer_worker') then
    return;
  end if;
  revoke all on table
    public.jobs, public.images, public.videos, consumer.job_types, consumer.workers, consumer.alembic_version
  from consumer_worker;
  revoke all on sequence consumer.claim_ids from consumer_worker;
  revoke all on schema public, consumer from consumer_worker;
end
$$;

do $$
begin
  if exists (
    select from pg_catalog.pg_roles r
    where r.rolname = 'consumer_worker'
      and pg_catalog.shobj_description(r.oid, 'pg_authid') = 'Made by the migrations of consumer: may do what its worker does.'
  ) then
    drop role consumer_worker;
  end if;
exception when dependent_objects_still_exist or insufficient_privilege or object_in_use then
  raise notice 'The role consumer_worker stays: %.', sqlerrm;
end
$$;
