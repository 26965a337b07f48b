-- What:  image_index on images and videos, and the link from a video to its job.
-- Why:   (job_id, image_index) is the key of one result; a WAN video has index 0. NULL stays legal: old rows have it.
-- Locks: ACCESS EXCLUSIVE for a moment on images and videos (nullable columns, no rewrite); the foreign key is added
--        NOT VALID and validated afterwards under SHARE UPDATE EXCLUSIVE.
-- Undo:  0002_image_index.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

select consumer.add_column('public.images', 'image_index', 'integer');

select consumer.add_column('public.videos', 'job_id', 'uuid');

select consumer.add_column('public.videos', 'image_index', 'integer');

do $$
begin
  if not exists (select from pg_catalog.pg_constraint where conname = 'videos_job_id_fkey' and conrelid = 'public.videos'::regclass) then
    alter table public.videos add constraint videos_job_id_fkey
      foreign key (job_id) references public.jobs (id) on delete cascade not valid;
  end if;
end
$$;

alter table public.videos validate constraint videos_job_id_fkey;
