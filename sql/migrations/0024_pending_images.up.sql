-- What:  consumer.pending_images: the indexes of a job's own images that have no result yet.
-- Why:   a claim tells with each job what is to be made for it, which saves the worker a statement and a round trip. Only
--        the statements of a volatile function see what was committed before the claim had locked the job's row; those of
--        the claim itself see what was there when it began, and would miss a row that the application had just inserted.
-- Locks: none that anybody waits for (CREATE FUNCTION).
-- Undo:  0024_pending_images.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

create or replace function consumer.pending_images(wanted uuid) returns integer[]
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  -- NULL stands for a row of the application's, which the worker may have to take up first.
  return array(
    select case when i.managed then i.image_index end::integer
    from public.images i
    where i.job_id = pending_images.wanted and i.status is distinct from 'completed'
    order by i.image_index
  );
end
$$;

-- The same for many jobs at once, those that have any; for one it would take longer.
create or replace function consumer.pending_images(wanted uuid[]) returns table (job_id uuid, pending integer[])
language plpgsql volatile rows 100 set search_path = pg_catalog, pg_temp as $$
begin
  -- Of none, so that a claim of videos waits for nobody who has the images locked.
  if wanted = '{}' then
    return;
  end if;
  return query
  select i.job_id, array_agg(case when i.managed then i.image_index end::integer order by i.image_index)
  from public.images i
  where i.job_id = any (pending_images.wanted) and i.status is distinct from 'completed'
  group by i.job_id;
end
$$;

revoke all on function consumer.pending_images(uuid), consumer.pending_images(uuid[]) from public;

do $$
begin
  if exists (select from pg_catalog.pg_roles where rolname = 'consumer_worker') then
    grant execute on function consumer.pending_images(uuid), consumer.pending_images(uuid[]) to consumer_worker;
  end if;
end
$$;
