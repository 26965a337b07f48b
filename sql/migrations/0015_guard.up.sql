-- What:  on jobs, images and videos a guard trigger, RESTRICTIVE policies, and a trigger that refuses TRUNCATE; all of them
--        for the API roles anon and authenticated alone. In rows of ours (a job with an engine, a picture or video of such a
--        job) a user changes nothing that the queue sets, and nothing of another user's; what else there is stays free:
--        titles, projects, links to own rows, deleting. Rows that are not of ours are the application's, as before. Nobody's
--        reading is restricted. Besides, policies say of the private tables, which have row level security, that they are
--        for nobody.
-- Why:   an existing table keeps its grants and policies. Policies are OR-ed, and a grant on a column says no more than
--        "permission denied"; old projects granted ALL, TRUNCATE among it, which no policy sees.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs, images and videos (CREATE POLICY, CREATE TRIGGER).
-- Undo:  0015_guard.down.sql.
--
-- The condition of the triggers reads current_user, which a SECURITY DEFINER function and a foreign key's action change:
-- cancel_job, our own triggers, the application's privileged functions and cascades pass by it, and so does a worker.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

create or replace function consumer.is_ours(job_id uuid) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from public.jobs j where j.id = is_ours.job_id and j.engine is not null)
$$;

comment on function consumer.is_ours(uuid) is 'For the policies, which users evaluate; without rights on the schema they cannot call it.';

create or replace function consumer.changed(before jsonb, after jsonb, fields text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select field from unnest(fields) with ordinality as f (field, place)
  where before -> field is distinct from after -> field
  order by place limit 1
$$;

create or replace function consumer.guard_job() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  before jsonb := to_jsonb(old);
  after jsonb := to_jsonb(new);
  field text;
begin
  if old.engine is not null and old.user_id is distinct from auth.uid() then
    raise exception 'The job must be your own.' using errcode = '42501';
  end if;
  if tg_op = 'DELETE' then
    return old;
  end if;
  if old.engine is null then
    field := consumer.changed(before, after, array['engine', 'queue_at', 'worker_id', 'claim_id']);
  else
    field := consumer.changed(before, after, array[
      'attempts', 'max_attempts', 'priority', 'available_at', 'start_tag', 'queue_at', 'engine', 'worker_id', 'claim_id',
      'started_at', 'completed_at', 'error_message', 'errors', 'status'
    ]);
  end if;
  if field = 'status' and new.status in ('cancelled', 'queued') then
    raise exception 'status is set by the queue; call %.', case new.status when 'queued' then 'retry_job' else 'cancel_job' end
      using errcode = '42501';
  elsif field is not null then
    raise exception '% is set by the queue; leave it out.', field using errcode = '42501';
  end if;
  if old.engine is null then
    return new;
  end if;
  field := consumer.changed(
    before, after, array['id', 'user_id', 'job_type', 'metadata', 'original_prompt', 'enhanced_prompt', 'idempotency_key']
  );
  if field is not null then
    raise exception '% stays as it was inserted; insert another job instead.', field using errcode = '42501';
  end if;
  if new.image_id is distinct from old.image_id and new.image_id is not null
    and not exists (select from public.images i where i.id = new.image_id and i.user_id = new.user_id) then
    raise exception 'image_id must name an image of your own.' using errcode = '42501';
  end if;
  if new.video_id is distinct from old.video_id and new.video_id is not null
    and not exists (select from public.videos v where v.id = new.video_id and v.user_id = new.user_id) then
    raise exception 'video_id must name a video of your own.' using errcode = '42501';
  end if;
  return new;
end
$$;

create or replace function consumer.guard_asset() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  was_ours boolean := consumer.is_ours(old.job_id);
  known boolean;
  owner uuid;
  field text;
begin
  if was_ours and old.user_id is distinct from auth.uid() then
    raise exception 'The job of this row must be your own.' using errcode = '42501';
  end if;
  if tg_op = 'DELETE' then
    return old;
  end if;
  if tg_op = 'INSERT' then
    -- An upsert of a row that is there already comes here again, as an UPDATE; locked, the row is still there by then.
    execute format('select true from %s a where a.id = $1 for key share', tg_relid::regclass) into known using new.id;
    if known then
      return new;
    end if;
  end if;
  field := case when new.managed is distinct from coalesce(old.managed, false) then 'managed' end;
  if was_ours then
    field := coalesce(field, consumer.changed(to_jsonb(old), to_jsonb(new), array[
      'id', 'user_id', 'job_id', 'status', 'image_url', 'video_url', 'thumbnail_url', 'seed', 'file_size', 'format', 'progress',
      'error_message', case when old.image_index is not null then 'image_index' end
    ]));
  end if;
  if field is not null then
    raise exception '% is set by the queue; leave it out.', field using errcode = '42501';
  end if;
  if was_ours or new.job_id is null then
    return new;
  end if;
  select j.user_id into owner from public.jobs j where j.id = new.job_id and j.engine is not null;
  if not found then
    return new;
  end if;
  if owner is distinct from auth.uid() then
    raise exception 'job_id must name a job of your own.' using errcode = '42501';
  end if;
  if new.user_id is distinct from owner then
    raise exception 'user_id must be your own id.' using errcode = '42501';
  end if;
  if new.status = 'completed' then
    raise exception 'status must not be completed: only a result makes it so.' using errcode = '42501';
  end if;
  return new;
end
$$;

create or replace function consumer.refuse_truncate() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '% must not be truncated; delete your own rows.', tg_table_name using errcode = '42501';
end
$$;

revoke all on function
  consumer.is_ours(uuid),
  consumer.changed(jsonb, jsonb, text[]),
  consumer.guard_job(),
  consumer.guard_asset(),
  consumer.refuse_truncate()
from public;

grant execute on function consumer.is_ours(uuid) to anon, authenticated;

do $$
declare
  relation text;
  own text;
  command text;
begin
  foreach relation in array array['jobs', 'images', 'videos'] loop
    own := case when relation = 'jobs' then 'engine is null' else 'not consumer.is_ours(job_id)' end
      || ' or user_id = (select auth.uid())';
    foreach command in array array['insert', 'update', 'delete'] loop
      execute format('drop policy if exists consumer_guard_%s on public.%I', command, relation);
      execute format(
        'create policy consumer_guard_%s on public.%I as restrictive for %s to anon, authenticated %s (%s)',
        command, relation, command, case when command = 'insert' then 'with check' else 'using' end, own
      );
    end loop;
    execute format(
      'create or replace trigger consumer_refuse_truncate before truncate on public.%I for each statement '
      'when (current_user in (''anon'', ''authenticated'')) execute function consumer.refuse_truncate()', relation
    );
  end loop;
end
$$;

drop policy if exists consumer_nobody on consumer.created;

create policy consumer_nobody on consumer.created using (false);

drop policy if exists consumer_nobody on consumer.replaced;

create policy consumer_nobody on consumer.replaced using (false);

drop policy if exists consumer_nobody on consumer.orphans;

create policy consumer_nobody on consumer.orphans using (false);

-- By its name the guard comes before the triggers that fill in what it must not see.
create or replace trigger consumer_guard before update or delete on public.jobs
for each row when (current_user in ('anon', 'authenticated')) execute function consumer.guard_job();

create or replace trigger consumer_guard before insert or update or delete on public.images
for each row when (current_user in ('anon', 'authenticated')) execute function consumer.guard_asset();

create or replace trigger consumer_guard before insert or update or delete on public.videos
for each row when (current_user in ('anon', 'authenticated')) execute function consumer.guard_asset();
