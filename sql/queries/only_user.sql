-- The one user that there is; two rows when there are more.
select id from auth.users limit 2
