-- What:  to come.
-- Why:   to come.
-- Locks: none.
-- Undo:  none.

select 1;
