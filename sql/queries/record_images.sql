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
  -- A job that makes videos as well, or whose type is not known any more, is left to complete_job.
  select g.*, j.user_id, i.id, case when t.medium = 'image' then g.count end as of
  from given g
  join public.jobs j on j.id = g.job_id
  join public.images i on i.job_id = g.job_id and i.image_index = g.index
  left join consumer.job_types t on t.job_type = j.job_type
  -- CASE keeps the planner from walking along the index of what workers hold, once for every row given.
  where j.claim_id = g.claim_id and case when j.status = 'processing' then true end and i.status is distinct from 'completed'
  order by j.user_id, g.job_id, g.index
  for no key update of j, i skip locked
),
recorded as (
  update public.images i
  set status = 'completed', image_url = h.url, thumbnail_url = h.thumbnail_url, seed = h.seed, file_size = h.file_size,
    format = h.format, progress = 100, error_message = null,
    metadata = case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{}' end || h.metadata, updated_at = now()
  from held h
  where i.id = h.id
  -- Our own row holds nothing else, and what is left out of that is known.
  returning h.place, h.user_id, h.job_id, h.of, i.id, i.image_index, i.status, i.image_url, i.thumbnail_url, case
    when i.metadata = h.metadata then nullif(h.metadata - %(unmeasured)b::text[], '{}')
    else (select jsonb_object_agg(m.key, m.value) from jsonb_each(i.metadata) as m where m.key = any (%(measured)b::text[]))
  end as measured
),
ending as materialized (
  select user_id, job_id, max(of) as of from recorded group by user_id, job_id having max(of) is not null
),
rows as (
  select user_id, job_id, id, image_index, status, image_url, thumbnail_url, measured from recorded where job_id in (select job_id from ending)
  union all
  select e.user_id, i.job_id, i.id, i.image_index, i.status, i.image_url, i.thumbnail_url, (
    select jsonb_object_agg(m.key, m.value)
    from jsonb_each(case when jsonb_typeof(i.metadata) = 'object' then i.metadata end) as m
    where m.key = any (%(measured)b::text[])
  )
  from ending e
  join public.images i on i.job_id = e.job_id
  where (i.managed or i.image_index between 0 and e.of - 1) and i.id not in (select id from recorded)
),
assets as materialized (
  select
    r.job_id,
    (array_agg(r.id order by r.image_index))[1] as image_id,
    jsonb_agg(
      jsonb_build_object('type', 'image', 'url', r.image_url, 'thumbnail_url', r.thumbnail_url, 'metadata', r.measured)
      order by r.image_index
    ) as list
  from rows r
  group by r.user_id, r.job_id
  having bool_and(r.status is not distinct from 'completed')
  order by r.user_id, r.job_id
),
-- What the foreign key will lock, so that it waits for nobody.
free_to_name as materialized (
  select i.id from public.images i
  where i.id in (select image_id from assets) and i.id not in (select id from recorded)
  for key share skip locked
),
completed as (
  update public.jobs j
  set status = 'completed', completed_at = now(), error_message = null, worker_id = null, image_id = assets.image_id,
    metadata = case when jsonb_typeof(j.metadata) = 'object' then j.metadata else '{}' end || jsonb_build_object('assets', assets.list, 'progress', 100)
  from assets
  where j.id = assets.job_id and (assets.image_id in (select id from recorded) or assets.image_id in (select id from free_to_name))
  returning j.id
)
select place::integer - 1 as place, job_id in (select id from completed) as completed from recorded
