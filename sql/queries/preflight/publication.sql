-- The publication of Realtime.
select puballtables as all_tables, pubupdate as updates, pg_has_role(pubowner, 'usage') as owned, pg_get_userbyid(pubowner) as owner,
  array(
    select t.tablename::text from pg_publication_tables t
    where t.pubname = p.pubname and t.schemaname = 'public' and t.tablename in ('jobs', 'images', 'videos')
    order by t.tablename
  ) as tables
from pg_publication p
where pubname = 'supabase_realtime'
