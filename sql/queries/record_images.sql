-- Write the results of several pictures into their rows, as record_image does for one, and say which (`place`, from 0).
-- A row that somebody has locked is left out, and waited for by nobody.
with given as (
  select * from unnest(
    %(job_ids)b::uuid[], %(claim_ids)b::bigint[], %(indexes)b::integer[], %(seeds)b::bigint[], %(urls)b::text[],
    %(thumbnail_urls)b::text[], %(formats)b::text[], %(file_sizes)b::bigint[], %(metadatas)b::jsonb[]
  ) with ordinality as g (job_id, claim_id, index, seed, url, thumbnail_url, format, file_size, metadata, place)
),
held as materialized (
  select g.*
  from given g
  join public.jobs j on j.id = g.job_id
  -- CASE keeps the planner from walking along the index of what workers hold, once for every row given.
  where j.claim_id = g.claim_id and case when j.status = 'processing' then true end
  for share of j skip locked
),
free as materialized (
  select h.*, i.id
  from held h
  join public.images i on i.job_id = h.job_id and i.image_index = h.index
  where i.status is distinct from 'completed'
  for update of i skip locked
),
recorded as (
  update public.images i
  set status = 'completed', image_url = f.url, thumbnail_url = f.thumbnail_url, seed = f.seed, file_size = f.file_size,
    format = f.format, progress = 100, error_message = null,
    metadata = case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{}' end || f.metadata, updated_at = now()
  from free f
  where i.id = f.id
  returning f.place
)
select place::integer - 1 as place from recorded
