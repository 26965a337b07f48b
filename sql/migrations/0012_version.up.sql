-- What:  version on jobs, images and videos, and updated_at on jobs; a trigger on each table renews both on every INSERT
--        and UPDATE, whatever was sent. A table that has a column called version already is not touched: this revision
--        refuses.
-- Why:   what Realtime tells and what a query reads arrive in any order; of two states of a row the one with the higher
--        version is the newer one. All versions are drawn from one sequence: so a row that replaces another one under
--        the same (job_id, image_index) is newer than it, too.
-- Locks: ACCESS EXCLUSIVE for a moment on jobs, images and videos (constant defaults, no rewrite; CREATE TRIGGER).
-- Undo:  0012_version.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

do $$
declare
  relation text;
begin
  foreach relation in array array['public.jobs', 'public.images', 'public.videos'] loop
    if not exists (select from consumer.created where object = relation || '.version') and exists (
      select from pg_catalog.pg_attribute a
      where a.attrelid = relation::regclass and a.attname = 'version' and not a.attisdropped
    ) then
      raise exception 'The table % has a column version that is not ours; rename it first.', relation;
    end if;
  end loop;
end
$$;

select consumer.add_column(relation, name, definition)
from (
  values
    ('public.jobs', 'updated_at', case
      when exists (select from consumer.created where object = 'public.jobs') then 'timestamptz not null default now()'
      else 'timestamptz'
    end),
    ('public.jobs', 'version', 'bigint not null default 0'),
    ('public.images', 'version', 'bigint not null default 0'),
    ('public.videos', 'version', 'bigint not null default 0')
) as needed (relation, name, definition);

create sequence if not exists consumer.versions as bigint;

create or replace function consumer.touch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- On INSERT old is NULL, which greatest passes over. A restore may have left the sequence behind the rows.
  new.version := greatest(nextval('consumer.versions'), old.version + 1);
  new.updated_at := now();
  return new;
end
$$;

revoke all on function consumer.touch() from public;

create or replace trigger consumer_touch before insert or update on public.jobs
for each row execute function consumer.touch();

create or replace trigger consumer_touch before insert or update on public.images
for each row execute function consumer.touch();

create or replace trigger consumer_touch before insert or update on public.videos
for each row execute function consumer.touch();
