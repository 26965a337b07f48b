-- Undoes 0013: the old rules come back, word for word. Refuses while a row has a status that they did not know.
-- Locks: as on the way up.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = 0;

-- Tried first. Where the way up broke off, the old rule still stands, for it refuses our words: the one beside it goes.
do $$
declare
  old record;
  refused boolean;
begin
  if to_regclass('consumer.replaced') is null then
    return;
  end if;
  for old in
    select r.relation, r.name, r.words[1] as word, 'consumer_' || c.oid as twin,
      pg_catalog.pg_get_expr(c.conbin, c.conrelid) as expression, pg_catalog.format_type(a.atttypid, null) as type
    from consumer.replaced r
    join pg_catalog.pg_constraint c on c.conrelid = to_regclass(r.relation) and c.conname = r.name
    join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attname = 'status' and c.conkey = array[a.attnum]
  loop
    execute format('select not (%s) from (select %L::%s as status) as given', old.expression, old.word, old.type) into refused;
    if refused then
      execute format('alter table %s drop constraint if exists %I', old.relation, old.twin);
      delete from consumer.replaced r where r.relation = old.relation and r.name = old.name;
    end if;
  end loop;
end
$$;

-- Tried first.
do $$
declare
  old record;
  found_word text;
begin
  if to_regclass('consumer.replaced') is null then
    return;
  end if;
  for old in select * from consumer.replaced loop
    execute format('select status from %s where status = any ($1) limit 1', old.relation) into found_word using old.words;
    if found_word is not null then
      raise exception 'Rows of % have the status %, which its rule % did not know before; change or delete them before going below revision 0013.',
        old.relation, found_word, old.name;
    end if;
  end loop;
end
$$;

set statement_timeout = '60s';

do $$
declare
  old record;
begin
  if to_regclass('consumer.replaced') is null then
    return;
  end if;
  for old in
    select r.relation, r.definition, 'consumer_' || c.oid as twin
    from consumer.replaced r
    join pg_catalog.pg_constraint c on c.conrelid = to_regclass(r.relation) and c.conname = r.name
    where not exists (
      select from pg_catalog.pg_constraint twin where twin.conrelid = c.conrelid and twin.conname = 'consumer_' || c.oid
    )
  loop
    execute format(
      'alter table %s add constraint %I %s%s', old.relation, old.twin, old.definition,
      case when old.definition like '% NOT VALID' then '' else ' not valid' end
    );
  end loop;
end
$$;

set statement_timeout = 0;

do $$
declare
  old record;
begin
  if to_regclass('consumer.replaced') is null then
    return;
  end if;
  for old in
    select r.relation, twin.conname
    from consumer.replaced r
    join pg_catalog.pg_constraint c on c.conrelid = to_regclass(r.relation) and c.conname = r.name
    join pg_catalog.pg_constraint twin on twin.conrelid = c.conrelid and twin.conname = 'consumer_' || c.oid
    where not twin.convalidated and r.definition not like '% NOT VALID'
  loop
    execute format('alter table %s validate constraint %I', old.relation, old.conname);
  end loop;
end
$$;

set statement_timeout = '60s';

do $$
declare
  old record;
begin
  if to_regclass('consumer.replaced') is null then
    return;
  end if;
  for old in
    select r.relation, r.name, twin.conname as twin, pg_catalog.obj_description(c.oid, 'pg_constraint') as comment
    from consumer.replaced r
    join pg_catalog.pg_constraint c on c.conrelid = to_regclass(r.relation) and c.conname = r.name
    join pg_catalog.pg_constraint twin on twin.conrelid = c.conrelid and twin.conname = 'consumer_' || c.oid
    where twin.convalidated or r.definition like '% NOT VALID'
  loop
    execute format('alter table %s drop constraint %I', old.relation, old.name);
    execute format('alter table %s rename constraint %I to %I', old.relation, old.twin, old.name);
    execute format('comment on constraint %I on %s is %L', old.name, old.relation, old.comment);
    delete from consumer.replaced r where r.relation = old.relation and r.name = old.name;
  end loop;
end
$$;

drop table if exists consumer.replaced;

reset statement_timeout;

reset lock_timeout;
