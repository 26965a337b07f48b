-- Put jobs whose time has come in line, and say in how many seconds the next one is due.
with due as materialized (
  select j.id from public.jobs j
  where j.status = 'queued' and j.queue_at is null and j.available_at is not null and j.engine is not null
    and j.available_at <= now()
  order by j.available_at
  limit 1000
  for update skip locked
),
promoted as (
  update public.jobs j set queue_at = coalesce(j.start_tag, now()), available_at = null
  from due
  where j.id = due.id
  returning j.id
)
select (select count(*) from promoted) as promoted, (
  select extract(epoch from min(j.available_at) - now())::double precision from public.jobs j
  where j.status = 'queued' and j.queue_at is null and j.available_at is not null and j.engine is not null
    and j.available_at > now() and j.available_at < 'infinity'
) as next_due
