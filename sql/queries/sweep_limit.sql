-- The moment that lies so many seconds back, by the clock of the database.
select clock_timestamp() - make_interval(secs => %(seconds)s::double precision) as before
