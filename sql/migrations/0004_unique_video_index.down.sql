-- Undoes 0004: drops the index that it built. One that was there before, under the same name, stays.
-- Locks: ACCESS EXCLUSIVE for a moment on videos.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  index text;
begin
  foreach index in array array['public.videos_job_id_image_index_key'] loop
    delete from consumer.created where object = 'index ' || index;
    if found then
      execute 'drop index if exists ' || index;
    end if;
  end loop;
end
$$;
