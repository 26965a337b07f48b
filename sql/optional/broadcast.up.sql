-- What:  Broadcast: what a frontend shows of a job, an image or a video goes out as a small message whenever it changes, on
--        the private topic user:{user_id}, as the event job, image or video; and each user may read the own topic.
-- Why:   Realtime asks for a subscriber's rights once, when it joins; with the publication it asks for every change.
--        A message that cannot be sent is a warning in the database's log, and never a write that fails.
-- Locks: SHARE ROW EXCLUSIVE for a moment on jobs, images and videos (CREATE TRIGGER), ACCESS EXCLUSIVE for a moment on
--        realtime.messages (CREATE POLICY).
-- Undo:  broadcast.down.sql, by `consumer migrate broadcast --off`.
--
-- Nothing is created in the schema realtime but one policy. The function is SECURITY DEFINER: who writes the row need not
-- have any rights there.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is null or to_regclass('realtime.messages') is null then
    raise exception 'There is no function realtime.send here to broadcast with; on Supabase, enable Realtime for this project.';
  end if;
end
$$;

insert into consumer.created (object) values ('broadcast') on conflict do nothing;

create or replace function consumer.broadcast() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  shown constant text[] := array[
    'id', 'job_id', 'job_type', 'image_id', 'video_id', 'image_index', 'status', 'progress', 'image_url', 'video_url',
    'thumbnail_url', 'error_message', 'version', 'updated_at'
  ];
  message jsonb;
begin
  if tg_table_name <> 'jobs' and not exists (
    select from public.jobs j where j.id = (to_jsonb(new) ->> 'job_id')::uuid and j.engine is not null
  ) then
    return null;
  end if;
  select jsonb_object_agg(key, value) into message from jsonb_each(to_jsonb(new)) where key = any (shown);
  if tg_table_name = 'jobs' then
    message := message || jsonb_build_object(
      'progress', case when jsonb_typeof(new.metadata -> 'progress') = 'number' then new.metadata -> 'progress' end
    );
  end if;
  -- Realtime takes 256 KB; texts of that size come from the application, and are in the row.
  if octet_length(message::text) > 200000 then
    message := message - array['image_url', 'video_url', 'thumbnail_url', 'error_message'];
  end if;
  perform realtime.send(message, tg_argv[0], 'user:' || new.user_id, true);
  return null;
exception when others then
  raise warning 'The broadcast of a change of % failed: %.', tg_table_name, sqlstate;
  return null;
end
$$;

revoke all on function consumer.broadcast() from public;

create or replace trigger consumer_broadcast_insert after insert on public.jobs
for each row when (new.engine is not null)
execute function consumer.broadcast('job');

create or replace trigger consumer_broadcast_update after update on public.jobs
for each row when (
  new.engine is not null
  and (old.status, old.error_message, old.image_id, old.video_id, old.metadata -> 'progress')
    is distinct from (new.status, new.error_message, new.image_id, new.video_id, new.metadata -> 'progress')
)
execute function consumer.broadcast('job');

-- A row that steps out of its place for the application's own one has a negative index.
create or replace trigger consumer_broadcast_insert after insert on public.images
for each row when (new.job_id is not null and new.image_index >= 0)
execute function consumer.broadcast('image');

create or replace trigger consumer_broadcast_update after update on public.images
for each row when (
  new.job_id is not null and new.image_index >= 0
  and (old.job_id, old.image_index, old.status, old.progress, old.image_url, old.thumbnail_url, old.error_message)
    is distinct from (new.job_id, new.image_index, new.status, new.progress, new.image_url, new.thumbnail_url, new.error_message)
)
execute function consumer.broadcast('image');

create or replace trigger consumer_broadcast_insert after insert on public.videos
for each row when (new.job_id is not null and new.image_index >= 0)
execute function consumer.broadcast('video');

create or replace trigger consumer_broadcast_update after update on public.videos
for each row when (
  new.job_id is not null and new.image_index >= 0
  and (old.job_id, old.image_index, old.status, old.progress, old.video_url, old.thumbnail_url, old.error_message)
    is distinct from (new.job_id, new.image_index, new.status, new.progress, new.video_url, new.thumbnail_url, new.error_message)
)
execute function consumer.broadcast('video');

-- The topic is the row's own, not the one that a reader says it has joined.
drop policy if exists consumer_read_own_topic on realtime.messages;

create policy consumer_read_own_topic on realtime.messages for select to authenticated
using (extension = 'broadcast' and topic = 'user:' || (select auth.uid())::text);
