-- Undoes 0001: drops the tables and columns that it created; refuses while a table that it created holds rows, or
-- consumer.orphans rows that have not gone back. The schema consumer goes last, with the version table.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

-- Tried first.
do $$
declare
  waiting boolean;
begin
  if to_regclass('consumer.orphans') is not null then
    execute 'select exists (select from consumer.orphans)' into waiting;
    if waiting then
      raise exception 'consumer.orphans holds rows that have not gone back to their tables. Revision 0014 brings them back: '
        'run consumer migrate up, then consumer migrate down base.';
    end if;
  end if;
end
$$;

-- Tried first.
do $$
begin
  if to_regprocedure('consumer.refuse_while_rows(text)') is not null then
    perform consumer.refuse_while_rows('0001');
  end if;
end
$$;

do $$
declare
  item text;
  relation text;
begin
  if to_regclass('consumer.created') is null then
    return;
  end if;
  for item in select object from consumer.created where object like 'public.%.%' loop
    perform consumer.drop_column(substring(item from '^public[.][^.]+'), split_part(item, '.', 3));
  end loop;
  foreach relation in array array['public.videos', 'public.images', 'public.jobs'] loop
    if exists (select from consumer.created where object = relation) then
      execute format('drop table if exists %s', relation);
    end if;
  end loop;
end
$$;

drop function if exists consumer.refuse_while_rows(text);

drop function if exists consumer.drop_column(text, text);

drop function if exists consumer.add_column(text, text, text);

drop table if exists consumer.created;
