-- Hold those of these jobs that still have ended before a time, until this transaction ends; not those that somebody holds.
select j.id from public.jobs j
where j.id = any (%(job_ids)s::uuid[]) and coalesce(j.completed_at, j.created_at) < %(before)s::timestamptz
  and j.engine is not null and j.status = any (%(statuses)s::text[])
order by j.id
for update skip locked
