-- What:  to come.
-- Locks: none.

select 1;
