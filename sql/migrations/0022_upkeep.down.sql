-- Undoes 0022: resets the options that it set, and no others.
-- Locks: SHARE UPDATE EXCLUSIVE for a moment on each table.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  item text;
begin
  for item in select object from consumer.created where object like 'option %' order by object loop
    execute format('alter table if exists %s reset (%s)', substring(item from '^option (.+)[.]'), substring(item from '[^.]+$'));
    delete from consumer.created where object = item;
  end loop;
end
$$;
