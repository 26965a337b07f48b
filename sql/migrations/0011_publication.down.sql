-- Undoes 0011: takes out the tables that it put in.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  relation text;
begin
  foreach relation in array array['jobs', 'images', 'videos'] loop
    delete from consumer.created where object = 'publication of public.' || relation;
    if found then
      execute format('alter publication supabase_realtime drop table public.%I', relation);
    end if;
  end loop;
  delete from consumer.created where object = 'publication supabase_realtime';
  if found then
    drop publication supabase_realtime;
  end if;
end
$$;
