-- Undoes 0009: nobody but the owner reads or writes the tables that the migrations created.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  relation text;
begin
  for relation in select object from consumer.created where object in ('public.jobs', 'public.images', 'public.videos') loop
    execute format('drop policy if exists consumer_read_own on %s', relation);
    execute format('drop policy if exists consumer_insert_own on %s', relation);
    execute format('revoke all on table %s from authenticated, service_role', relation);
  end loop;
end
$$;
