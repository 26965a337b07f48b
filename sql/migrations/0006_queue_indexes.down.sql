-- Undoes 0006: drops the indexes that it built. One that was there before, under the same name, stays.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs, images and videos.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  index text;
begin
  foreach index in array array[
    'public.jobs_claim_idx',
    'public.jobs_due_idx',
    'public.jobs_worker_idx',
    'public.jobs_user_id_created_at_idx',
    'public.jobs_image_id_idx',
    'public.jobs_video_id_idx',
    'public.images_user_id_created_at_idx',
    'public.videos_user_id_created_at_idx'
  ] loop
    delete from consumer.created where object = 'index ' || index;
    if found then
      execute 'drop index if exists ' || index;
    end if;
  end loop;
end
$$;
