-- Set weight and limits of a user, or of everybody where user_id is null. What is not named stays as it counts for that
-- user now, whether by a row of his own or by everybody's.
insert into consumer.user_limits (user_id, weight, max_queued, max_running)
select %(user_id)s::uuid, coalesce(%(weight)s::double precision, (now.own).weight, 1),
  case when %(sets_queued)s::boolean then %(max_queued)s::integer else (now.own).max_queued end,
  case when %(sets_running)s::boolean then %(max_running)s::integer else (now.own).max_running end
from (select consumer.limits_of(%(user_id)s::uuid) as own) as now
on conflict (user_id) do update
set weight = excluded.weight, max_queued = excluded.max_queued, max_running = excluded.max_running
returning user_id, weight, max_queued, max_running
