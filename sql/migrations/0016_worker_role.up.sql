-- What:  the role consumer_worker, which cannot log in until a DBA lets it: alter role consumer_worker login password '...'.
--        It may do what the worker's statements in sql/queries do, column by column, on every user's rows, and nothing
--        else; it is a member of no other role. A role of that name that is there already is used as it is. The role that
--        migrates may SET ROLE to it. Where that role may create no roles and there is none yet, this revision only says so.
-- Why:   the machine with the GPU then holds no password that opens the rest of the project. Roles belong to the server, and
--        grants to the database: several databases share the role.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs, images and videos (CREATE POLICY).
-- Undo:  0016_worker_role.down.sql; the role itself goes with the last database that needs it.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'consumer_worker') then
    create role consumer_worker;
    comment on role consumer_worker is 'Made by the migrations of consumer: may do what its worker does.';
  end if;
exception
  when insufficient_privilege then
    raise notice 'The role % may not create roles, so there is no role consumer_worker. Have an administrator create it, '
      'then run: consumer migrate down 0015; consumer migrate up.', current_user;
  when duplicate_object or unique_violation then
    null;
end
$$;

-- Who creates a role may not act as it yet, since Postgres 16.
do $$
begin
  if exists (select from pg_catalog.pg_roles where rolname = 'consumer_worker') then
    execute format('grant consumer_worker to %I', current_user);
  end if;
exception
  when insufficient_privilege then
    raise notice 'The role % may not act as consumer_worker: have an administrator run: grant consumer_worker to %.', current_user, current_user;
  when unique_violation then
    null;
end
$$;

do $$
declare
  relation text;
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'consumer_worker') then
    return;
  end if;
  grant usage on schema public, consumer to consumer_worker;
  grant select on table consumer.alembic_version, consumer.job_types to consumer_worker;
  grant select, insert, update, delete on table consumer.workers to consumer_worker;
  grant usage on sequence consumer.claim_ids to consumer_worker;

  grant select, update (
    status, claim_id, worker_id, attempts, queue_at, available_at, started_at, completed_at, metadata, enhanced_prompt,
    error_message, errors, image_id, video_id
  ) on table public.jobs to consumer_worker;
  grant select, insert (job_id, user_id, image_index, status, prompt, metadata, managed), update (
    image_index, status, image_url, thumbnail_url, seed, file_size, format, progress, error_message, metadata, updated_at
  ) on table public.images to consumer_worker;
  grant select, insert (job_id, user_id, image_index, status, metadata, managed), update (
    job_id, image_index, status, video_url, thumbnail_url, seed, file_size, format, progress, error_message, duration,
    resolution, metadata, updated_at, completed_at
  ) on table public.videos to consumer_worker;

  -- A literal true: beside it the application's policies for everybody are not even asked, which call what this role may not.
  foreach relation in array array['public.jobs', 'public.images', 'public.videos', 'consumer.job_types', 'consumer.workers'] loop
    execute format('drop policy if exists consumer_worker on %s', relation);
    execute format('create policy consumer_worker on %s to consumer_worker using (true) with check (true)', relation);
  end loop;
end
$$;
