-- What:  settings of autovacuum and fillfactor for jobs, images, videos, consumer.workers and consumer.clocks. An option
--        that is set already stays as it is; consumer.created remembers those that were set here.
-- Why:   a queue changes the same few rows all the time, and a table that keeps its history is large: a share of its rows
--        that is dead at the default (a fifth) is far too many at the head of a line. Room in each page lets progress be
--        written beside the row it replaces, without a new entry in any index (HOT). The tiny tables are vacuumed after some
--        hundred changes, whatever their size.
-- Locks: SHARE UPDATE EXCLUSIVE for a moment on each table: no read or write waits. Nothing is rewritten: fillfactor holds
--        for pages that are filled from now on.
-- Undo:  0022_upkeep.down.sql resets what was set here.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  wanted record;
begin
  for wanted in
    select c.oid::regclass as relation, n.name, o.option, o.value
    from (
      values
        (
          array['public.jobs', 'public.images', 'public.videos'],
          '{
            "fillfactor": 85, "autovacuum_vacuum_scale_factor": 0.01, "autovacuum_vacuum_insert_scale_factor": 0.05,
            "autovacuum_analyze_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 1
          }'::jsonb
        ),
        (
          array['consumer.workers', 'consumer.clocks'],
          '{
            "fillfactor": 50, "autovacuum_vacuum_threshold": 100, "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_cost_delay": 0
          }'
        )
    ) as t (names, options)
    cross join unnest(t.names) as n (name)
    join pg_catalog.pg_class c on c.oid = to_regclass(n.name) and c.relkind = 'r'
    cross join jsonb_each_text(t.options) as o (option, value)
    where not exists (select from pg_catalog.pg_options_to_table(c.reloptions) as already where already.option_name = o.option)
    order by n.name, o.option
  loop
    execute format('alter table %s set (%s = %s)', wanted.relation, wanted.option, wanted.value);
    insert into consumer.created (object) values (format('option %s.%s', wanted.name, wanted.option)) on conflict do nothing;
  end loop;
end
$$;
