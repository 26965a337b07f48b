-- Put jobs whose time has come in line (those that were never there get their place from the trigger keep_in_line), and
-- say in how many seconds the next one is due. Those of users who may have a limit on running jobs are held instead;
-- `held` says whether there are any such.
with due as materialized (
  select j.id, exists (
    select from consumer.user_limits l where (l.user_id = j.user_id or l.user_id is null) and l.max_running is not null
  ) as limited
  from public.jobs j
  where j.status = 'queued' and j.queue_at is null and j.available_at is not null and j.engine is not null
    and j.available_at <= now()
  order by j.available_at
  limit 1000
  for update skip locked
),
promoted as (
  update public.jobs j set queue_at = case when not due.limited then j.start_tag end, available_at = null
  from due
  where j.id = due.id
  returning j.queue_at
)
select
  (select count(*) from promoted where queue_at is not null) as promoted,
  (
    select extract(epoch from min(j.available_at) - now())::double precision from public.jobs j
    where j.status = 'queued' and j.queue_at is null and j.available_at is not null and j.engine is not null
      and j.available_at > now() and j.available_at < 'infinity'
  ) as next_due,
  exists (select from promoted where queue_at is null) or (
    -- Ordered, so that it is looked for in the index of held jobs, which mostly is empty.
    select j.user_id from public.jobs j
    where j.status = 'queued' and j.queue_at is null and j.available_at is null and j.engine is not null
    order by j.user_id, j.created_at
    limit 1
  ) is not null as held
