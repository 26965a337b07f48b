-- Whether there is a second place for results, with the columns that we fill, and whether a trigger of ours feeds it.
select
  2 = (
    select count(*) from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('public.workspace_assets') and a.attname in ('job_id', 'asset_index') and not a.attisdropped
  ) as there,
  exists (
    select from pg_catalog.pg_trigger t where t.tgrelid = to_regclass('public.jobs') and t.tgname = 'consumer_fill_workspace_assets'
  ) as fed
