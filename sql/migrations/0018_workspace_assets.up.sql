-- What:  where the application has the table public.workspace_assets, with the columns job_id and asset_index, a trigger on
--        jobs writes one row there for each asset of a job of ours, in the transaction that completes the job. It fills
--        the columns that the table has; a row that is there already under the same (job_id, asset_index) is replaced. A
--        unique index on that pair is built where there is none. Where there is no such table nothing calls the function;
--        when the table comes later: `consumer migrate down 0017`, then `consumer migrate up`.
-- Why:   there a frontend waits for rows that are inserted, not for images and videos. If the table refuses a row, the job is
--        not completed: one that looks completed and has no visible result would be lost for its user. It counts
--        as a failed attempt, so it ends after max_attempts, with the error's type in jobs.errors and its words in the
--        database's log. The pictures are stored and recorded by then: `consumer jobs retry` makes none again.
-- Locks: the index is built CONCURRENTLY, outside a transaction: it waits up to ten minutes for older transactions, and no
--        read or write waits for it; the look for duplicates before reads the table once. SHARE ROW EXCLUSIVE for a
--        moment on jobs (CREATE TRIGGER).
-- Undo:  0018_workspace_assets.down.sql; the rows stay.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = 0;

-- CREATE INDEX CONCURRENTLY knows no condition: where there is nothing to index, it finds an empty table of that name first.
do $$
declare
  sink regclass := to_regclass('public.workspace_assets');
  needed text;
  keyed boolean;
  useless text;
  doubled bigint;
begin
  drop table if exists consumer.workspace_assets;
  if exists (
    select from pg_catalog.pg_index where indexrelid = to_regclass('public.consumer_workspace_assets_key') and not indisvalid
  ) then
    drop index public.consumer_workspace_assets_key;
  end if;
  if (
    select count(*) from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    where c.oid = sink and c.relkind in ('r', 'p') and a.attname in ('job_id', 'asset_index') and not a.attisdropped
  ) < 2 or sink is null then
    create table consumer.workspace_assets (job_id uuid, asset_index integer);
    return;
  end if;
  select string_agg(a.attname, ', ' order by a.attnum) into needed
  from pg_catalog.pg_attribute a
  where a.attrelid = sink and a.attnum > 0 and a.attnotnull and not a.atthasdef and a.attidentity = '' and not a.attisdropped
    and a.attname <> all (array[
      'user_id', 'asset_type', 'temp_storage_path', 'file_size_bytes', 'mime_type', 'job_id', 'asset_index', 'generation_seed',
      'original_prompt', 'model_used', 'generation_settings', 'thumbnail_path', 'width', 'height'
    ]);
  if needed is not null then
    raise exception 'The table public.workspace_assets wants a value in %, which this system cannot know: '
      'give each of these columns a default, or drop its NOT NULL.', needed;
  end if;
  select bool_or(x.indisvalid), string_agg(x.indexrelid::regclass::text, ', ') filter (where not x.indimmediate)
  into keyed, useless
  from pg_catalog.pg_index x
  where x.indrelid = sink and x.indisunique and x.indpred is null and x.indnkeyatts = 2 and (
    select array_agg(a.attname::text order by a.attname::text) from pg_catalog.pg_attribute a
    where a.attrelid = sink and a.attnum = any ((x.indkey::smallint[])[0:1])
  ) = array['asset_index', 'job_id'];
  if useless is not null then
    raise exception 'On public.workspace_assets the unique constraint % is deferrable, and INSERT ... ON CONFLICT cannot use such a one: '
      'drop it, and make it again without DEFERRABLE.', useless;
  end if;
  if keyed then
    create table consumer.workspace_assets (job_id uuid, asset_index integer);
    return;
  end if;
  execute 'select count(*) from (
    select from public.workspace_assets where job_id is not null and asset_index is not null
    group by job_id, asset_index having count(*) > 1
  ) as twins' into doubled;
  if doubled > 0 then
    raise exception 'In public.workspace_assets % pairs of job_id and asset_index stand in more than one row each. This shows them: %',
      doubled,
      'select job_id, asset_index, array_agg(id order by created_at) from public.workspace_assets '
      'where job_id is not null and asset_index is not null group by 1, 2 having count(*) > 1; '
      'keep one row of each, or give each its own asset_index, and run this again.';
  end if;
end
$$;

set search_path = consumer, public;

set lock_timeout = '10min';

create unique index concurrently if not exists consumer_workspace_assets_key on workspace_assets (job_id, asset_index);

reset search_path;

set lock_timeout = '5s';

set statement_timeout = '60s';

create or replace function consumer.fill_workspace_assets() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  sink regclass := to_regclass('public.workspace_assets');
  assets jsonb;
  names text;
  changes text;
begin
  -- What nobody measured is left out, so that the column's own default counts.
  select jsonb_agg(
    jsonb_strip_nulls(jsonb_build_object(
      'user_id', new.user_id, 'job_id', new.id, 'asset_index', a.image_index, 'asset_type', a.medium,
      'temp_storage_path', a.url, 'thumbnail_path', a.thumbnail_url,
      'file_size_bytes', a.file_size, 'mime_type', coalesce(a.measured ->> 'mime_type', a.medium || '/' || a.format),
      'width', a.measured -> 'width', 'height', a.measured -> 'height', 'duration_seconds', a.measured -> 'duration_seconds',
      'generation_seed', a.seed, 'model_used', coalesce(a.measured ->> 'model', new.engine),
      'original_prompt', coalesce(new.original_prompt, new.metadata ->> 'prompt', new.enhanced_prompt, '')
    )) || jsonb_build_object('generation_settings', a.measured)
  ) into assets
  from (
    select 'image' as medium, i.image_index, i.status, i.image_url as url, i.thumbnail_url, i.file_size, i.format, i.seed,
      case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{}' end as measured
    from public.images i where i.job_id = new.id
    union all
    select 'video', v.image_index, v.status, v.video_url, v.thumbnail_url, v.file_size, v.format, v.seed,
      case when jsonb_typeof(v.metadata) = 'object' then v.metadata else '{}' end
    from public.videos v where v.job_id = new.id
  ) as a
  -- A result that the application has put into its row itself was measured by nobody, and stays there.
  where a.status = 'completed' and a.image_index >= 0 and a.url is not null and a.file_size is not null and a.seed is not null;

  select string_agg(quote_ident(a.attname), ', '),
    string_agg(format('%1$I = excluded.%1$I', a.attname), ', ') filter (where a.attname not in ('job_id', 'asset_index'))
  into names, changes
  from pg_attribute a
  where a.attrelid = sink and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and exists (select from jsonb_array_elements(assets) as asset where asset ? a.attname);
  if names is not null then
    -- The owner is replaced, too: a row that somebody else put there beforehand must not become theirs.
    begin
      execute format(
        'insert into public.workspace_assets (%1$s) select %1$s from jsonb_populate_recordset(null::public.workspace_assets, $1) '
        'on conflict (job_id, asset_index) do update set %2$s', names, changes
      ) using assets;
    exception when object_not_in_prerequisite_state or program_limit_exceeded then
      -- No identity to publish, too long for an index: a client would take it for an outage, which passes, and wait for ever.
      raise exception 'The table workspace_assets refused the assets of a job: %', sqlerrm;
    end;
  end if;
  return null;
end
$$;

revoke all on function consumer.fill_workspace_assets() from public;

do $$
begin
  drop table if exists consumer.workspace_assets;
  if (
    select count(*) from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    where c.oid = to_regclass('public.workspace_assets') and c.relkind in ('r', 'p')
      and a.attname in ('job_id', 'asset_index') and not a.attisdropped
  ) = 2 then
    create or replace trigger consumer_fill_workspace_assets after update of status on public.jobs
    for each row when (new.status = 'completed' and old.status is distinct from 'completed' and new.engine is not null)
    execute function consumer.fill_workspace_assets();
  end if;
end
$$;

reset statement_timeout;

reset lock_timeout;
