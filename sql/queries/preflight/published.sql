-- What the publications of the application's tables have Postgres refuse: columns, where a list of them leaves out what
-- tells rows apart; rows, where a filter asks for more than that; identity, where nothing tells them apart.
with tables as (
  select c.oid, c.relname, c.relreplident, c.relreplident in ('d', 'n', 'i') as by_key, array(
    select k from pg_index x cross join unnest(x.indkey::smallint[]) as k
    where x.indrelid = c.oid and case c.relreplident when 'd' then x.indisprimary when 'i' then x.indisreplident else false end
  ) as key
  from pg_class c
  where c.relnamespace = to_regnamespace('public') and c.relname in ('jobs', 'images', 'videos') and c.relkind = 'r'
),
refused as (
  select r.prpubid, t.relname as relation, case
    when r.prattrs is not null and (not t.by_key or not t.key <@ r.prattrs::smallint[]) then 'columns'
    when r.prqual is not null and t.by_key and exists (
      select from regexp_matches(r.prqual::text, ':varattno (\d+)', 'g') as v where v[1]::smallint <> all (t.key)
    ) then 'rows'
  end as what
  from pg_publication_rel r
  join tables t on t.oid = r.prrelid and (t.key <> '{}' or not t.by_key)
  union all
  select p.oid, t.relname, 'identity'
  from tables t
  join pg_publication_tables pt on pt.schemaname = 'public' and pt.tablename = t.relname
  join pg_publication p on p.pubname = pt.pubname
  where t.by_key and t.key = '{}'
)
select quote_ident(p.pubname) as publication, f.relation, f.what, p.pubupdate as updates
from refused f
join pg_publication p on p.oid = f.prpubid
where f.what is not null and (p.pubupdate or p.pubdelete)
order by 2, 1
