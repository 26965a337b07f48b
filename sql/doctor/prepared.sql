-- Transactions that were prepared for a two-phase commit and neither committed nor rolled back since.
select quote_literal(p.gid) as quoted, clock_timestamp() - p.prepared as age
from pg_catalog.pg_prepared_xacts p
where p.database = current_database() and p.prepared < clock_timestamp() - make_interval(secs => %(seconds)s::double precision)
order by p.prepared
limit 10
