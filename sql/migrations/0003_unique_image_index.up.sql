-- What:  one row per (job_id, image_index) in images. A plain unique index: rows with a NULL in the key are not compared.
-- Why:   one visible result per picture; a second row for the same key is refused by the database itself.
-- Locks: built CONCURRENTLY, outside a transaction: it waits up to ten minutes for older transactions, and no read or
--        write waits for it. An INVALID leftover of an earlier try is dropped first (ACCESS EXCLUSIVE for a moment).
--        Duplicates make it refuse before it builds anything, with the query that shows them.
-- Undo:  0003_unique_image_index.down.sql.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = 0;

do $$
begin
  if exists (
    select from pg_catalog.pg_index where indexrelid = to_regclass('public.images_job_id_image_index_key') and not indisvalid
  ) then
    drop index public.images_job_id_image_index_key;
  end if;
end
$$;

-- An index that is there already under this name is the application's, and stays when this is undone.
insert into consumer.created (object)
select 'index ' || name from unnest(array['public.images_job_id_image_index_key']) as name
where to_regclass(name) is null
on conflict do nothing;

do $$
declare
  doubled bigint;
begin
  if to_regclass('public.images_job_id_image_index_key') is not null then
    return;
  end if;
  select count(*) into doubled from (
    select from public.images a where a.job_id is not null and a.image_index is not null
    group by a.job_id, a.image_index having count(*) > 1
  ) as twins;
  if doubled > 0 then
    raise exception 'In public.images % pairs of job_id and image_index stand in more than one row each. This shows them: %',
      doubled,
      'select job_id, image_index, array_agg(id order by created_at) from public.images '
      'where job_id is not null and image_index is not null group by 1, 2 having count(*) > 1; '
      'keep one row of each, and run this again.';
  end if;
end
$$;

set lock_timeout = '10min';

create unique index concurrently if not exists images_job_id_image_index_key on public.images (job_id, image_index);

reset statement_timeout;

reset lock_timeout;
