-- Undoes 0001: drops the tables and columns that it created; refuses while a table that it created holds rows.
-- The schema consumer stays for the version table; it is empty otherwise.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  relation text;
  filled boolean;
begin
  if to_regclass('consumer.created') is null then
    return;
  end if;
  for relation in select object from consumer.created where object in ('public.jobs', 'public.images', 'public.videos') and to_regclass(object) is not null loop
    execute format('select exists (select from %s)', relation) into filled;
    if filled then
      raise exception 'The table % holds rows; move or delete them before going below revision 0001.', relation;
    end if;
  end loop;
end
$$;

do $$
declare
  relation text;
  item text;
begin
  if to_regclass('consumer.created') is null then
    return;
  end if;
  if exists (select from consumer.created where object = 'public.jobs') then
    alter table if exists public.jobs drop constraint if exists jobs_image_id_fkey, drop constraint if exists jobs_video_id_fkey;
  end if;
  foreach relation in array array['public.videos', 'public.images', 'public.jobs'] loop
    if exists (select from consumer.created where object = relation) then
      execute format('drop table if exists %s', relation);
    else
      for item in select object from consumer.created where object like relation || '.%' loop
        perform consumer.drop_column(relation, split_part(item, '.', 3));
      end loop;
    end if;
  end loop;
end
$$;

drop function if exists consumer.add_column(text, text, text);

drop function if exists consumer.drop_column(text, text);

drop table if exists consumer.created;
