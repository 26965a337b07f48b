-- The server, and as whom it knows us.
select current_setting('server_version_num')::integer as version, pg_is_in_recovery() as is_replica,
  current_user::text as role, r.rolsuper as is_superuser, r.rolbypassrls as bypasses,
  (select setting::bigint from pg_catalog.pg_settings where name = 'idle_in_transaction_session_timeout') as idle_ms,
  (select reset_val::bigint from pg_catalog.pg_settings where name = 'statement_timeout') as statement_ms
from pg_catalog.pg_roles r
where r.rolname = current_user
