-- The logical slots of this database, and how many bytes of WAL each keeps.
select s.slot_name::text as name, s.active as is_active, coalesce(s.wal_status = 'lost', false) as is_lost,
  coalesce(pg_wal_lsn_diff(case when not pg_is_in_recovery() then pg_current_wal_lsn() end, s.restart_lsn), 0)::bigint as retained
from pg_catalog.pg_replication_slots s
where s.slot_type = 'logical' and s.database = current_database()
order by 1
