-- The jobs created before a time, in the order of (user_id, created_at, id) and after a place in it: whether each is one of
-- ours that ended before that time. Walks along the index of users' own jobs, so many at a time, whatever is found.
select j.id, j.user_id, j.created_at::text as created_at,
  j.engine is not null and j.status = any (%(statuses)s::text[])
    and coalesce(j.completed_at, j.created_at) < %(before)s::timestamptz as ended
from public.jobs j
where (j.user_id, j.created_at, j.id) > (%(user_id)s::uuid, %(created_at)s::timestamptz, %(id)s::uuid)
  and j.created_at < %(before)s::timestamptz
order by j.user_id, j.created_at, j.id
limit %(limit)s::integer
