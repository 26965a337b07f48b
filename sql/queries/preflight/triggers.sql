-- The application's own triggers that are in force, what their functions say, and whether it is all that they ask for.
select c.relname as relation, quote_ident(t.tgname) as name, t.tgfoid::regprocedure::text as function, l.lanname as language,
  p.prosrc as source, p.prosecdef as definer, t.tgqual is not null as conditional, (t.tgtype & 8) <> 0 as deletes,
  (t.tgtype & 20) <> 0 as writes, (t.tgtype & case c.relname when 'jobs' then 16 else 20 end) <> 0 as by_worker
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
join pg_proc p on p.oid = t.tgfoid
join pg_language l on l.oid = p.prolang
where c.relnamespace = to_regnamespace('public') and c.relname in ('jobs', 'images', 'videos')
  and not t.tgisinternal and t.tgenabled in ('O', 'A') and not starts_with(t.tgname, 'consumer_') and (t.tgtype & 28) <> 0
order by c.relname, t.tgname
