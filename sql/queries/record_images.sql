-- Write the results of several pictures into their rows, as record_image does for one, and say which (`place`, from 0).
-- Where a `count` is given, complete their job, too, as complete_job does, if nothing is missing by then. What somebody has
-- locked is left out, and waited for by nobody; and what a trigger of the application's waits for, only for a moment. In the
-- order of users, so that two of these do not deadlock where such a trigger keeps a row for each user.
with patience as materialized (
  select set_config('lock_timeout', '100ms', true)
),
given as (
  select g.* from patience, unnest(
    %(job_ids)b::uuid[], %(claim_ids)b::bigint[], %(indexes)b::integer[], %(seeds)b::bigint[], %(urls)b::text[],
    %(thumbnail_urls)b::text[], %(formats)b::text[], %(file_sizes)b::bigint[], %(metadatas)b::jsonb[], %(counts)b::integer[]
  ) with ordinality as g (job_id, claim_id, index, seed, url, thumbnail_url, format, file_size, metadata, count, place)
),
held as materialized (
  -- A job that makes videos as well, or whose type is not known any more, is left to complete_job. Looked up one by one: a
  -- join might be planned, for tables that were empty then, as a walk along all of their rows.
  select g.*, j.user_id, j.ctid as job_row, i.id, i.ctid as image_row, case when t.medium = 'image' then g.count end as of
  from given g
  cross join lateral (
    select j.user_id, j.job_type, j.ctid from only public.jobs j
    -- CASE keeps it from the index of what workers hold.
    where j.id = g.job_id and j.claim_id = g.claim_id and case when j.status = 'processing' then true end
    for no key update skip locked
  ) as j
  cross join lateral (
    select i.id, i.ctid from only public.images i
    where i.job_id = g.job_id and i.image_index = g.index and i.status is distinct from 'completed'
    for no key update skip locked
  ) as i
  left join consumer.job_types t on t.job_type = j.job_type
  order by j.user_id, g.job_id, g.index
),
recorded as (
  update only public.images i
  set status = 'completed', image_url = h.url, thumbnail_url = h.thumbnail_url, seed = h.seed, file_size = h.file_size,
    format = h.format, progress = 100, error_message = null,
    metadata = case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{}' end || h.metadata, updated_at = now()
  from held h
  -- They are locked, so they stay where they are; and in this order. ONLY, for a child of the table has the same places.
  where i.ctid = h.image_row
  -- Our own row holds nothing else, and what is left out of that is known.
  returning h.place, h.user_id, h.job_id, h.job_row, h.of, i.id, i.image_index, i.status, i.image_url, i.thumbnail_url, case
    when i.metadata = h.metadata then nullif(h.metadata - %(unmeasured)b::text[], '{}')
    else (select jsonb_object_agg(m.key, m.value) from jsonb_each(i.metadata) as m where m.key = any (%(measured)b::text[]))
  end as measured
),
ending as materialized (
  select user_id, job_id, job_row, max(of) as of from recorded group by user_id, job_id, job_row having max(of) is not null
),
rows as (
  select user_id, job_id, job_row, id, image_index, status, image_url, thumbnail_url, measured from recorded where job_id in (select job_id from ending)
  union all
  select e.user_id, i.job_id, e.job_row, i.id, i.image_index, i.status, i.image_url, i.thumbnail_url, (
    select jsonb_object_agg(m.key, m.value)
    from jsonb_each(case when jsonb_typeof(i.metadata) = 'object' then i.metadata end) as m
    where m.key = any (%(measured)b::text[])
  )
  from ending e
  cross join lateral (select i.* from public.images i where i.job_id = e.job_id offset 0) as i
  where (i.managed or i.image_index between 0 and e.of - 1) and i.id not in (select id from recorded)
),
assets as materialized (
  select
    r.job_row,
    (array_agg(r.id order by r.image_index))[1] as image_id,
    jsonb_agg(
      jsonb_build_object('type', 'image', 'url', r.image_url, 'thumbnail_url', r.thumbnail_url, 'metadata', r.measured)
      order by r.image_index
    ) as list
  from rows r
  group by r.user_id, r.job_id, r.job_row
  having bool_and(r.status is not distinct from 'completed')
  order by r.user_id, r.job_id
),
-- What the foreign key will lock, so that it waits for nobody.
free_to_name as materialized (
  select i.id
  from assets
  cross join lateral (select i.id from public.images i where i.id = assets.image_id for key share skip locked) as i
  where assets.image_id not in (select id from recorded)
),
completed as (
  update only public.jobs j
  set status = 'completed', completed_at = now(), error_message = null, worker_id = null, image_id = assets.image_id,
    metadata = case when jsonb_typeof(j.metadata) = 'object' then j.metadata else '{}' end || jsonb_build_object('assets', assets.list, 'progress', 100)
  from assets
  where j.ctid = assets.job_row and (assets.image_id in (select id from recorded) or assets.image_id in (select id from free_to_name))
  returning j.id
)
select place::integer - 1 as place, job_id in (select id from completed) as completed from recorded
