-- Undoes 0015: on tables that were there before us users may write what the application's policies and grants let them.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

drop policy if exists consumer_nobody on consumer.orphans;

drop policy if exists consumer_nobody on consumer.replaced;

drop policy if exists consumer_nobody on consumer.created;

drop trigger if exists consumer_guard on public.videos;

drop trigger if exists consumer_guard on public.images;

drop trigger if exists consumer_guard on public.jobs;

do $$
declare
  relation text;
  command text;
begin
  foreach relation in array array['jobs', 'images', 'videos'] loop
    execute format('drop trigger if exists consumer_refuse_truncate on public.%I', relation);
    foreach command in array array['insert', 'update', 'delete'] loop
      execute format('drop policy if exists consumer_guard_%s on public.%I', command, relation);
    end loop;
  end loop;
end
$$;

drop function if exists consumer.refuse_truncate();

drop function if exists consumer.guard_asset();

drop function if exists consumer.guard_job();

drop function if exists consumer.changed(jsonb, jsonb, text[]);

drop function if exists consumer.is_ours(uuid);
