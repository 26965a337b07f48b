-- public.workspace_assets, where it is a table with the columns that results are inserted by: what it wants besides, whether
-- it has their key, and unique constraints on them that ON CONFLICT cannot use.
with sink as (
  select c.oid from pg_class c
  where c.oid = to_regclass('public.workspace_assets') and c.relkind in ('r', 'p') and (
    select count(*) from pg_attribute a where a.attrelid = c.oid and a.attname in ('job_id', 'asset_index') and not a.attisdropped
  ) = 2
),
keys as (
  select x.indexrelid::regclass::text as name, x.indisvalid as valid, x.indimmediate as immediate
  from sink
  join pg_index x on x.indrelid = sink.oid
  where x.indisunique and x.indpred is null and x.indexprs is null and x.indnkeyatts = 2 and (
    select array_agg(a.attname::text order by a.attname::text) from pg_attribute a
    where a.attrelid = sink.oid and a.attnum = any ((x.indkey::smallint[])[0:1])
  ) = array['asset_index', 'job_id']
)
select
  array(
    select a.attname::text from pg_attribute a
    where a.attrelid = sink.oid and a.attnum > 0 and a.attnotnull and not a.atthasdef and a.attidentity = '' and not a.attisdropped
      and a.attname <> all (array[
        'user_id', 'asset_type', 'temp_storage_path', 'file_size_bytes', 'mime_type', 'job_id', 'asset_index', 'generation_seed',
        'original_prompt', 'model_used', 'generation_settings', 'thumbnail_path', 'width', 'height'
      ])
    order by a.attnum
  ) as needed,
  array(select name from keys where not immediate order by name) as deferrable,
  exists (select from keys where valid and immediate) as keyed
from sink
