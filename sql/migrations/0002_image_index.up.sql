-- What:  image_index on images and videos, and the link from a video to its job.
-- Why:   (job_id, image_index) is the key of one result; a WAN video has index 0. NULL stays legal: old rows have it.
-- Locks: ACCESS EXCLUSIVE for a moment on images and videos (nullable columns, no rewrite); SHARE ROW EXCLUSIVE for a
--        moment on videos and jobs (foreign key, NOT VALID). It is validated in a transaction of its own, while reads
--        and writes go on: hence every statement here is one.
-- Undo:  0002_image_index.down.sql; refuses while a table that the migrations created holds rows.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = '60s';

select consumer.add_column('public.images', 'image_index', 'integer');

select consumer.add_column('public.videos', 'job_id', 'uuid');

select consumer.add_column('public.videos', 'image_index', 'integer');

do $$
begin
  if exists (select from consumer.created where object = 'public.videos.job_id') and not exists (
    select from pg_catalog.pg_constraint where conname = 'videos_job_id_fkey' and conrelid = 'public.videos'::regclass
  ) then
    alter table public.videos add constraint videos_job_id_fkey
      foreign key (job_id) references public.jobs (id) on delete cascade not valid;
  end if;
end
$$;

set statement_timeout = 0;

do $$
begin
  if exists (select from consumer.created where object = 'public.videos.job_id') then
    alter table public.videos validate constraint videos_job_id_fkey;
  end if;
end
$$;

reset statement_timeout;

reset lock_timeout;
