-- How much the WAL tells.
select current_setting('wal_level') as level
