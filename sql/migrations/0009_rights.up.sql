-- What:  row level security policies and explicit grants: an authenticated user inserts own jobs and reads own jobs,
--        images and videos; anon nothing; service_role everything. Only on tables that the migrations created: an
--        existing table keeps its policies and grants.
-- Why:   Supabase grants nothing by itself on new tables, and a grant too many is a hole.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs, images and videos (CREATE POLICY).
-- Undo:  0009_rights.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  relation text;
begin
  for relation in select object from consumer.created where object in ('public.jobs', 'public.images', 'public.videos') loop
    execute format('drop policy if exists consumer_read_own on %s', relation);
    execute format('create policy consumer_read_own on %s for select to authenticated using (user_id = (select auth.uid()))', relation);
    execute format('grant select on table %s to authenticated', relation);
    execute format('grant select, insert, update, delete on table %s to service_role', relation);
  end loop;
  if exists (select from consumer.created where object = 'public.jobs') then
    drop policy if exists consumer_insert_own on public.jobs;
    create policy consumer_insert_own on public.jobs for insert to authenticated with check (user_id = (select auth.uid()));
    grant insert on table public.jobs to authenticated;
  end if;
end
$$;
