-- What:  placeholders in images and videos that nobody will ever finish are moved to consumer.orphans, whole. An orphan
--          has no result, and a status that says that one is to come (or none);
--          is older than a day, by creation and by last change;
--          belongs to no job, or to one that is over; and no job that is not over names it in metadata.image_ids;
--          is referenced by no row of any table: deleting it would delete, empty or refuse what refers to it;
--          was not made by our trigger.
-- Why:   they are shown as in the making for ever. Nothing else would end them, for no worker has their job.
-- Locks: only those rows, a thousand at a time, each thousand in a transaction of its own (in one, where the whole
--        script runs in one).
-- Undo:  0014_orphans.down.sql moves them back.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = '60s';

create table if not exists consumer.orphans (
  table_name text,
  id uuid,
  row jsonb not null,
  reason text not null,
  moved_at timestamptz not null default now(),
  primary key (table_name, id)
);

alter table consumer.orphans enable row level security;

comment on table consumer.orphans is 'Placeholders without a job that would finish them: each column as the text of its value.';

-- Text and its cast back change no value of any type; a jsonb null inside of a row would be taken for a missing one.
create or replace function consumer.as_texts(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format(
    'jsonb_object(array[%s], array[%s])',
    string_agg(quote_literal(a.attname), ', ' order by a.attnum), string_agg(format('a.%I::text', a.attname), ', ' order by a.attnum)
  )
  from pg_attribute a
  where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
$$;

-- No row of any table refers to the row called a.
create or replace function consumer.unreferenced(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(string_agg(format('not exists (select from %s other where %s)', c.conrelid::regclass, (
    select string_agg(format('other.%I = a.%I', theirs.attname, ours.attname), ' and ')
    from unnest(c.conkey, c.confkey) as key (theirs, ours)
    join pg_attribute theirs on theirs.attrelid = c.conrelid and theirs.attnum = key.theirs
    join pg_attribute ours on ours.attrelid = c.confrelid and ours.attnum = key.ours
  )), ' and '), 'true')
  from pg_constraint c
  where c.contype = 'f' and c.confrelid = relation and c.conparentid = 0
$$;

revoke all on function consumer.as_texts(regclass), consumer.unreferenced(regclass) from public;

set statement_timeout = 0;

-- Rows are locked before they are looked at once more: from then on nobody can come to refer to them.
do $$
declare
  -- Also false inside one message of several statements, where a commit is refused.
  alone constant boolean := pg_current_xact_id_if_assigned() is null;
  relation regclass;
  rule text;
  found_ids uuid[];
  moved bigint;
begin
  foreach relation in array array['public.images', 'public.videos']::regclass[] loop
    rule := format(
      $rule$
        not a.managed and a.%1$I is null and a.thumbnail_url is null
        and coalesce(a.status, 'pending') in ('pending', 'queued', 'generating', 'processing')
        and greatest(a.created_at, a.updated_at) < now() - interval '1 day'
        and coalesce(to_jsonb(a) ->> 'image_urls', '[]') in ('[]', '{}')
        and not exists (
          select from public.jobs j where j.id = a.job_id and coalesce(j.status, 'queued') not in ('completed', 'failed', 'cancelled')
        )
        and a.id::text <> all (array(
          select jsonb_array_elements_text(j.metadata -> 'image_ids') from public.jobs j
          where coalesce(j.status, 'queued') not in ('completed', 'failed', 'cancelled')
            and jsonb_typeof(j.metadata -> 'image_ids') = 'array'
        ))
        and %2$s
      $rule$,
      case relation when 'public.images'::regclass then 'image_url' else 'video_url' end, consumer.unreferenced(relation)
    );
    loop
      execute format(
        'select array_agg(id) from (select a.id from %s a where %s order by a.id limit 1000 for update skip locked) as chosen', relation, rule
      ) into found_ids;
      exit when found_ids is null;
      execute format(
        $move$
          with moved as (
            delete from %1$s a where a.id = any ($1) and %2$s
            returning a.id, %3$s as row, case when a.job_id is null then 'no job' else 'its job is over' end as reason
          )
          insert into consumer.orphans (table_name, id, row, reason) select %4$L, id, row, reason from moved
        $move$,
        relation, rule, consumer.as_texts(relation), (select relname from pg_catalog.pg_class where oid = relation)
      ) using found_ids;
      get diagnostics moved = row_count;
      exit when moved = 0;
      if alone then
        commit;
      end if;
    end loop;
  end loop;
end
$$;

reset statement_timeout;

reset lock_timeout;
