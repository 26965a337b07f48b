-- Write one job type as the TOML has it.
insert into consumer.job_types as t (job_type, engine, medium, default_count, max_count, cost)
values (%s, %s, %s, %s, %s, %s)
on conflict (job_type) do update
set engine = excluded.engine, medium = excluded.medium, default_count = excluded.default_count,
  max_count = excluded.max_count, cost = excluded.cost, pushed_at = now()
