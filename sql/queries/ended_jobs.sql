-- The next jobs of ours that ended before a time, in the order of (user_id, created_at, id) and after a place in it. Walks
-- along the index of users' own jobs; none ends before it was created, so younger ones are passed over in the index.
select j.id, j.user_id, j.created_at::text as created_at
from public.jobs j
where (j.user_id, j.created_at, j.id) > (%(user_id)s::uuid, %(created_at)s::timestamptz, %(id)s::uuid)
  and j.created_at < %(before)s::timestamptz and coalesce(j.completed_at, j.created_at) < %(before)s::timestamptz
  and j.engine is not null and j.status = any (%(statuses)s::text[])
order by j.user_id, j.created_at, j.id
limit %(limit)s::integer
