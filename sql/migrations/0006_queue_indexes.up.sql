-- What:  the indexes of the queue on jobs, and those that row level security and foreign keys need.
--
--          jobs_claim_idx: the line of each engine, in the order of service; the claim reads its head;
--          jobs_due_idx: jobs that wait for their time;
--          jobs_worker_idx: what each worker holds;
--          jobs_user_id_created_at_idx: a user's own jobs (row level security asks for it on every read);
--          jobs_image_id_idx: the foreign key's other side: deleting a picture finds its job;
--          jobs_video_id_idx: the same for a video;
--          images_user_id_created_at_idx: a user's own pictures;
--          videos_user_id_created_at_idx: a user's own videos.
--
-- Why:   a claim must cost the same whatever is queued, delayed, served by nobody or finished.
-- Locks: built CONCURRENTLY, outside a transaction: each waits up to ten minutes for older transactions, and no read or
--        write waits for it; each reads its table once. INVALID leftovers of an earlier try are dropped first (ACCESS
--        EXCLUSIVE for a moment).
-- Undo:  0006_queue_indexes.down.sql.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = 0;

do $$
declare
  leftover text;
begin
  for leftover in
    select indexrelid::regclass::text from pg_catalog.pg_index
    where not indisvalid and indexrelid = any (array[
      to_regclass('public.jobs_claim_idx'),
      to_regclass('public.jobs_due_idx'),
      to_regclass('public.jobs_worker_idx'),
      to_regclass('public.jobs_user_id_created_at_idx'),
      to_regclass('public.jobs_image_id_idx'),
      to_regclass('public.jobs_video_id_idx'),
      to_regclass('public.images_user_id_created_at_idx'),
      to_regclass('public.videos_user_id_created_at_idx')
    ]::oid[])
  loop
    execute 'drop index ' || leftover;
  end loop;
end
$$;

-- An index that is there already under this name is the application's, and stays when this is undone.
insert into consumer.created (object)
select 'index ' || name from unnest(array[
  'public.jobs_claim_idx',
  'public.jobs_due_idx',
  'public.jobs_worker_idx',
  'public.jobs_user_id_created_at_idx',
  'public.jobs_image_id_idx',
  'public.jobs_video_id_idx',
  'public.images_user_id_created_at_idx',
  'public.videos_user_id_created_at_idx'
]) as name
where to_regclass(name) is null
on conflict do nothing;

set lock_timeout = '10min';

create index concurrently if not exists jobs_claim_idx on public.jobs (engine, queue_at, id) where status = 'queued' and queue_at is not null;

create index concurrently if not exists jobs_due_idx on public.jobs (available_at) where status = 'queued' and queue_at is null and available_at is not null and engine is not null;

create index concurrently if not exists jobs_worker_idx on public.jobs (worker_id) where status = 'processing';

create index concurrently if not exists jobs_user_id_created_at_idx on public.jobs (user_id, created_at);

create index concurrently if not exists jobs_image_id_idx on public.jobs (image_id) where image_id is not null;

create index concurrently if not exists jobs_video_id_idx on public.jobs (video_id) where video_id is not null;

create index concurrently if not exists images_user_id_created_at_idx on public.images (user_id, created_at);

create index concurrently if not exists videos_user_id_created_at_idx on public.videos (user_id, created_at);

reset statement_timeout;

reset lock_timeout;
