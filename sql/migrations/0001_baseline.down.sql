-- Undoes 0001: drops the tables and columns that it created; refuses while a table that it created holds rows.
-- The schema consumer stays for the version table; it is empty otherwise.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

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
