-- What supabase_realtime publishes of these tables. The lists of columns and rows came with Postgres 15.
select p.oid is not null as there, p.puballtables as all_tables, p.pubinsert as inserts, p.pubupdate as updates,
  array(
    select wanted from unnest(%(tables)s::text[]) as wanted
    where not exists (
      select from pg_catalog.pg_publication_tables t
      where t.pubname = 'supabase_realtime' and t.schemaname || '.' || t.tablename = wanted
    )
    order by 1
  ) as missing,
  array(
    select n.nspname || '.' || c.relname
    from pg_catalog.pg_publication_rel r
    join pg_catalog.pg_class c on c.oid = r.prrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where r.prpubid = p.oid and (r.prqual is not null or r.prattrs is not null)
      and n.nspname || '.' || c.relname = any (%(tables)s::text[])
    order by 1
  ) as partly,
  'create publication supabase_realtime for table ' || array_to_string(%(tables)s::text[], ', ') || ';' as create
from (values (1)) as one
left join pg_catalog.pg_publication p on p.pubname = 'supabase_realtime'
