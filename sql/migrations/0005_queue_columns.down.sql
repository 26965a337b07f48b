-- Undoes 0005; refuses while a job is processing, for its worker would lose its claim, and while a table that the
-- migrations created holds rows, for jobs would lose their place in line and their history.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

-- Tried first.
do $$
begin
  if exists (select from pg_catalog.pg_attribute where attrelid = 'public.jobs'::regclass and attname = 'claim_id' and not attisdropped) then
    if exists (select from public.jobs where status = 'processing' and claim_id is not null) then
      raise exception 'A job is processing; stop the workers before going below revision 0005.';
    end if;
  end if;
end
$$;

-- Tried first.
select consumer.refuse_while_rows('0005');

select consumer.drop_column(relation, name)
from (
  values
    ('public.jobs', 'engine'), ('public.jobs', 'priority'), ('public.jobs', 'available_at'),
    ('public.jobs', 'start_tag'), ('public.jobs', 'queue_at'), ('public.jobs', 'worker_id'),
    ('public.jobs', 'claim_id'), ('public.jobs', 'idempotency_key'), ('public.jobs', 'errors'),
    ('public.images', 'managed'), ('public.images', 'progress'), ('public.images', 'error_message'),
    ('public.videos', 'managed'), ('public.videos', 'progress'), ('public.videos', 'seed'),
    ('public.videos', 'file_size')
) as ours (relation, name);

drop table if exists consumer.workers;

drop table if exists consumer.job_types;

drop sequence if exists consumer.claim_ids;
