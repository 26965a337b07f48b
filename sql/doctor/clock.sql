-- What time it is there.
select extract(epoch from clock_timestamp())::double precision as seconds
