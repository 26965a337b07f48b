-- The newest jobs, of one status, of one user, or those that are parked where asked for, each with how many of its assets are done.
with newest as (
  select j.* from public.jobs j
  where (%(status)s::text is null or j.status = %(status)s::text)
    and (%(user_id)s::uuid is null or j.user_id = %(user_id)s::uuid)
    and (not %(parked)s::boolean or (
      j.engine is null and (j.status in ('queued', 'processing') or j.status is null)
      and j.job_type in (select t.job_type from consumer.job_types t)
    ))
  order by j.created_at desc, j.id
  limit %(limit)s::integer
)
select j.id, j.user_id, j.job_type, j.engine, j.status, coalesce(j.attempts, 0) as attempts, a.done, a.assets,
  j.created_at, j.started_at, j.completed_at, j.error_message
from newest j
cross join lateral (
  select count(*) filter (where rows.status = 'completed') as done, count(*) as assets
  from (
    select i.status from public.images i where i.job_id = j.id and i.image_index is not null
    union all
    select v.status from public.videos v where v.job_id = j.id and v.image_index is not null
  ) as rows
) as a
order by j.created_at desc, j.id
