-- Undoes 0014: the rows go back as they were. Refuses where one of them cannot, for its user or its job is gone.
-- Locks: SHARE ROW EXCLUSIVE on images and videos while their rows are put back: our own trigger rests meanwhile, for it
--        would renew their updated_at.

set local lock_timeout = '5s';

set local statement_timeout = 0;

-- Tried first: whether they can.
do $$
declare
  relation text;
  columns text;
  texts text;
begin
  if to_regclass('consumer.orphans') is null then
    return;
  end if;
  for relation in select distinct table_name from consumer.orphans order by table_name loop
    select string_agg(format('%I', a.attname), ', ' order by a.attnum),
      string_agg(format('(o.row ->> %L)::%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
    into columns, texts
    from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('public.' || relation) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      and exists (select from consumer.orphans o where o.table_name = relation and o.row ? a.attname);
    execute format('alter table public.%I disable trigger consumer_touch', relation);
    begin
      execute format(
        'insert into public.%I (%s) overriding system value select %s from consumer.orphans o where o.table_name = %L', relation, columns, texts, relation
      );
    exception when integrity_constraint_violation then
      raise exception 'A row of consumer.orphans cannot go back to public.%: %. Delete or change it there before going below revision 0014.',
        relation, sqlerrm;
    end;
    execute format('alter table public.%I enable trigger consumer_touch', relation);
    delete from consumer.orphans where table_name = relation;
  end loop;
end
$$;

drop function if exists consumer.unreferenced(regclass);

drop function if exists consumer.as_texts(regclass);

drop table if exists consumer.orphans;
