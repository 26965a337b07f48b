-- What holds the horizon of vacuum back although it is no transaction here: slots, and standbys that tell what they read.
select 'replication slot' as kind, s.slot_name::text as name, age(s.xmin) as age
from pg_catalog.pg_replication_slots s
where s.xmin is not null
union all
select 'standby', coalesce(nullif(r.application_name, ''), 'without a name'), age(r.backend_xmin)
from pg_catalog.pg_stat_replication r
where r.backend_xmin is not null
order by 3 desc
