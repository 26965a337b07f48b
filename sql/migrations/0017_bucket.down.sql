-- Undoes 0017: drops the policy. The bucket stays, with what is in it: only the Storage API may delete a bucket.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
begin
  if to_regclass('storage.objects') is not null then
    drop policy if exists consumer_read_own_workspace_temp on storage.objects;
  end if;
end
$$;
