-- Complete several jobs whose assets are all recorded, as complete_job does for one, and say which (`place`, from 0). A job
-- that somebody has locked is left out, and waited for by nobody.
with given as (
  select * from unnest(%(job_ids)b::uuid[], %(claim_ids)b::bigint[], %(counts)b::integer[])
    with ordinality as g (job_id, claim_id, count, place)
),
held as materialized (
  select g.place, g.count, j.id, t.medium
  from given g
  join public.jobs j on j.id = g.job_id
  left join consumer.job_types t on t.job_type = j.job_type
  -- CASE keeps the planner from walking along the index of what workers hold, once for every row given.
  where j.claim_id = g.claim_id and case when j.status = 'processing' then true end
  for update of j skip locked
),
rows as (
  select h.place, h.id as job_id, i.id, 'image' as type, i.image_index, i.status, i.image_url as url, i.thumbnail_url, i.metadata
  from held h
  join public.images i on i.job_id = h.id
  where h.medium is distinct from 'video' and (i.managed or i.image_index between 0 and h.count - 1)
  union all
  select h.place, h.id, v.id, 'video', v.image_index, v.status, v.video_url, v.thumbnail_url, v.metadata
  from held h
  join public.videos v on v.job_id = h.id
  where h.medium is distinct from 'image' and (v.managed or v.image_index between 0 and h.count - 1)
),
assets as materialized (
  select
    r.place,
    r.job_id,
    bool_and(r.status = 'completed') as complete,
    (array_agg(r.id order by r.image_index) filter (where r.type = 'image'))[1] as image_id,
    (array_agg(r.id order by r.image_index) filter (where r.type = 'video'))[1] as video_id,
    jsonb_agg(
      jsonb_build_object('type', r.type, 'url', r.url, 'thumbnail_url', r.thumbnail_url, 'metadata', (
        select jsonb_object_agg(m.key, m.value)
        from jsonb_each(case when jsonb_typeof(r.metadata) = 'object' then r.metadata end) as m
        where m.key = any (%(measured)b::text[])
      ))
      order by r.image_index
    ) as list
  from rows r
  group by r.place, r.job_id
),
-- What the foreign keys will lock, so that none of them waits.
free_images as materialized (
  select i.id from public.images i where i.id in (select image_id from assets) for key share skip locked
),
free_videos as materialized (
  select v.id from public.videos v where v.id in (select video_id from assets) for key share skip locked
),
completed as (
  update public.jobs j
  set status = 'completed', completed_at = now(), error_message = null, worker_id = null,
    image_id = coalesce(assets.image_id, j.image_id), video_id = coalesce(assets.video_id, j.video_id),
    metadata = case when jsonb_typeof(j.metadata) = 'object' then j.metadata else '{}' end || jsonb_build_object('assets', assets.list, 'progress', 100)
  from assets
  where j.id = assets.job_id and assets.complete
    and (assets.image_id is null or assets.image_id in (select id from free_images))
    and (assets.video_id is null or assets.video_id in (select id from free_videos))
  returning assets.place
)
select place::integer - 1 as place from completed
