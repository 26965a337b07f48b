-- Whether there is the role that a worker needs.
select exists (select from pg_catalog.pg_roles where rolname = 'consumer_worker') as there
