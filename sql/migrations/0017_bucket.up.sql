-- What:  the private bucket workspace-temp, and a policy by which an authenticated user reads what lies in the folder of
--        its own id. A bucket that is there already is left as it is. Where there is no schema storage: nothing.
-- Why:   results are stored at {user_id}/{job_id}/{index}. Nobody else has a policy: anon reads nothing, no user
--        writes; the service key, which the worker has, passes by row level security. The bucket has no size limit of
--        its own: the project's counts.
-- Locks: ACCESS EXCLUSIVE for a moment on storage.objects (CREATE POLICY).
-- Undo:  0017_bucket.down.sql drops the policy; the bucket stays.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
begin
  if to_regclass('storage.buckets') is null or to_regclass('storage.objects') is null then
    raise notice 'There is no schema storage here, so there is no bucket to create.';
    return;
  end if;
  insert into storage.buckets (id, name, public, allowed_mime_types)
  values ('workspace-temp', 'workspace-temp', false, array['image/png', 'image/jpeg', 'image/webp', 'video/mp4'])
  on conflict do nothing;
  drop policy if exists consumer_read_own_workspace_temp on storage.objects;
  create policy consumer_read_own_workspace_temp on storage.objects for select to authenticated
  using (bucket_id = 'workspace-temp' and (storage.foldername(name))[1] = (select auth.uid())::text);
end
$$;
