-- The job types as the triggers have them.
select t.job_type, t.engine, t.medium, t.default_count, t.max_count, t.cost, t.pushed_at
from consumer.job_types t
order by t.engine, t.job_type
