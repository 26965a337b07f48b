-- The application's own triggers that are in force on INSERT or UPDATE, and what their functions say.
select c.relname as relation, t.tgname as name, t.tgfoid::regprocedure::text as function, l.lanname as language, p.prosrc as source
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
join pg_proc p on p.oid = t.tgfoid
join pg_language l on l.oid = p.prolang
where c.relnamespace = to_regnamespace('public') and c.relname in ('jobs', 'images', 'videos')
  and not t.tgisinternal and t.tgenabled in ('O', 'A') and not starts_with(t.tgname, 'consumer_') and (t.tgtype & 20) <> 0
order by c.relname, t.tgname
