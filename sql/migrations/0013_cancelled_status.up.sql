-- What:  a CHECK on the column status of jobs, images or videos that was there before us and lacks a word that we write
--        (on the platform: cancelled on jobs) is replaced by one of the same name: the old rule, or one of those words.
--        No other rule of the application is replaced. consumer.replaced remembers the old one.
-- Why:   without it cancel_job is refused.
-- Locks: ACCESS EXCLUSIVE for a moment on that table, twice: the new rule is added NOT VALID, and takes the old one's
--        place once it has been validated, while reads and writes go on. Where no rule lacks a word: none.
-- Undo:  0013_cancelled_status.down.sql; refuses while a row has a status that the old rule did not know.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = '60s';

create table if not exists consumer.replaced (
  relation text,
  name text,
  definition text not null,
  words text[] not null,
  primary key (relation, name)
);

alter table consumer.replaced enable row level security;

comment on table consumer.replaced is 'CHECKs of the application that lacked a status, as they were, and the words that ours add.';

-- Which words a rule refuses it is asked itself. The new rule is called consumer_ and the number of the old one.
do $$
declare
  rule record;
  word text;
  refused boolean;
  missing text[];
begin
  for rule in
    select format('%I.%I', t.relnamespace::regnamespace, t.relname) as relation, c.conname, c.connoinherit, 'consumer_' || c.oid as twin,
      pg_catalog.pg_get_constraintdef(c.oid) as definition, pg_catalog.pg_get_expr(c.conbin, c.conrelid) as expression,
      pg_catalog.format_type(a.atttypid, null) as type
    from pg_catalog.pg_constraint c
    join pg_catalog.pg_class t on t.oid = c.conrelid
    join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
    where c.contype = 'c' and a.attname = 'status' and c.conname !~ '^consumer_[0-9]+$'
      and c.conrelid in ('public.jobs'::regclass, 'public.images'::regclass, 'public.videos'::regclass)
      and not exists (
        select from pg_catalog.pg_constraint twin where twin.conrelid = c.conrelid and twin.conname = 'consumer_' || c.oid
      )
  loop
    missing := '{}';
    foreach word in array array['queued', 'processing', 'completed', 'failed', 'cancelled'] loop
      execute format('select not (%s) from (select %L::%s as status) as given', rule.expression, word, rule.type) into refused;
      if refused then
        missing := missing || word;
      end if;
    end loop;
    if missing <> '{}' then
      insert into consumer.replaced (relation, name, definition, words)
      values (rule.relation, rule.conname, rule.definition, missing)
      on conflict (relation, name) do update set definition = excluded.definition, words = excluded.words;
      execute format(
        'alter table %s add constraint %I check ((%s) or status in (%s))%s not valid', rule.relation, rule.twin, rule.expression,
        (select string_agg(quote_literal(value), ', ') from unnest(missing) as value),
        case when rule.connoinherit then ' no inherit' else '' end
      );
    end if;
  end loop;
end
$$;

set statement_timeout = 0;

-- A rule that was never validated says nothing of the rows that there are, and so does the one in its place.
do $$
declare
  rule record;
begin
  for rule in
    select twin.conrelid::regclass as relation, twin.conname
    from pg_catalog.pg_constraint twin
    join pg_catalog.pg_constraint c on c.conrelid = twin.conrelid and twin.conname = 'consumer_' || c.oid
    where not twin.convalidated and c.convalidated
  loop
    execute format('alter table %s validate constraint %I', rule.relation, rule.conname);
  end loop;
end
$$;

set statement_timeout = '60s';

do $$
declare
  rule record;
begin
  for rule in
    select twin.conrelid::regclass as relation, twin.conname as twin, c.conname, pg_catalog.obj_description(c.oid, 'pg_constraint') as comment
    from pg_catalog.pg_constraint twin
    join pg_catalog.pg_constraint c on c.conrelid = twin.conrelid and twin.conname = 'consumer_' || c.oid
    where twin.convalidated or not c.convalidated
  loop
    execute format('alter table %s drop constraint %I', rule.relation, rule.conname);
    execute format('alter table %s rename constraint %I to %I', rule.relation, rule.twin, rule.conname);
    execute format('comment on constraint %I on %s is %L', rule.conname, rule.relation, rule.comment);
  end loop;
end
$$;

reset statement_timeout;

reset lock_timeout;
