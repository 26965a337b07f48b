-- The weights and limits of users; the first row, without user_id, is for everybody who has none of his own.
select user_id, weight, max_queued, max_running
from consumer.user_limits
order by user_id nulls first
