-- Put held jobs of these users in line, as far as their limits on running jobs let them; without users, of some that have any. Not of all at once: each is locked for a moment.
with recursive holders as (
  (
    select j.user_id from public.jobs j
    where j.status = 'queued' and j.queue_at is null and j.available_at is null and j.engine is not null and %(users)s::uuid[] is null
    order by j.user_id
    limit 1
  )
  union all
  select further.user_id
  from holders
  cross join lateral (
    select j.user_id from public.jobs j
    where j.status = 'queued' and j.queue_at is null and j.available_at is null and j.engine is not null
      and j.user_id > holders.user_id
    order by j.user_id
    limit 1
  ) as further
)
select consumer.admit(coalesce(%(users)s::uuid[], array(select user_id from holders order by random() limit 500))) as jobs
