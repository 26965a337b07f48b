-- The sessions of other roles whose transactions this role may not see.
select count(*) as hidden, quote_ident(current_user) as role
from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.usename is not null and a.backend_type is null
