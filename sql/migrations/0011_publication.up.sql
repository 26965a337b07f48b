-- What:  jobs, images and videos in the publication supabase_realtime, which is made where it does not exist.
-- Why:   Realtime shows a frontend the UPDATE of a row only when the row's table is published. REPLICA IDENTITY stays as it
--        is: the primary key is enough, and FULL writes every row twice. A table without any is refused, because once
--        published it would refuse every UPDATE itself.
-- Locks: SHARE UPDATE EXCLUSIVE for a moment on the tables added.
-- Undo:  0011_publication.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  relation text;
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    insert into consumer.created (object) values ('publication supabase_realtime') on conflict do nothing;
  end if;
  foreach relation in array array['jobs', 'images', 'videos'] loop
    -- pg_publication_tables also lists what FOR ALL TABLES publishes, where ADD TABLE would be an error.
    if not exists (
      select from pg_catalog.pg_publication_tables
      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = relation
    ) then
      if exists (
        select from pg_catalog.pg_class c
        where c.oid = format('public.%I', relation)::regclass and c.relreplident in ('n', 'd') and (
          c.relreplident = 'n' or not exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary)
        )
      ) then
        raise exception 'The table public.% has no replica identity, and would refuse every UPDATE once it is published: '
          'alter table public.% replica identity default.', relation, relation;
      end if;
      execute format('alter publication supabase_realtime add table public.%I', relation);
      insert into consumer.created (object) values ('publication of public.' || relation) on conflict do nothing;
    end if;
  end loop;
end
$$;
