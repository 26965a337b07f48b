-- Which database this is: two of a name are told apart by when their servers started.
select current_database()::text as database, pg_postmaster_start_time() as started
