-- Complete a job whose assets are all recorded, and describe them in metadata.assets, measured, in order of index.
-- Repeated after a lost reply it finds its own claim completed, which is success; the lock shows it even while the
-- first one commits.
with held as materialized (
  select j.id, j.status, t.medium
  from public.jobs j
  left join consumer.job_types t on t.job_type = j.job_type
  where j.id = %(job_id)s::uuid and j.claim_id = %(claim_id)s::bigint
  for update of j
),
rows as (
  select i.id, 'image' as type, i.image_index, i.status, i.image_url as url, i.thumbnail_url, i.metadata
  from held
  join public.images i on i.job_id = held.id
  where held.medium is distinct from 'video' and (i.managed or i.image_index between 0 and %(count)s::integer - 1)
  union all
  select v.id, 'video', v.image_index, v.status, v.video_url, v.thumbnail_url, v.metadata
  from held
  join public.videos v on v.job_id = held.id
  where held.medium is distinct from 'image' and (v.managed or v.image_index between 0 and %(count)s::integer - 1)
),
assets as (
  select
    bool_and(r.status is not distinct from 'completed') as complete,
    (array_agg(r.id order by r.image_index) filter (where r.type = 'image'))[1] as image_id,
    (array_agg(r.id order by r.image_index) filter (where r.type = 'video'))[1] as video_id,
    jsonb_agg(
      jsonb_build_object('type', r.type, 'url', r.url, 'thumbnail_url', r.thumbnail_url, 'metadata', (
        select jsonb_object_agg(m.key, m.value)
        from jsonb_each(case when jsonb_typeof(r.metadata) = 'object' then r.metadata end) as m
        where m.key = any (%(measured)s::text[])
      ))
      order by r.image_index
    ) as list
  from rows r
),
completed as (
  update public.jobs j
  set status = 'completed', completed_at = now(), error_message = null, worker_id = null,
    image_id = coalesce(assets.image_id, j.image_id), video_id = coalesce(assets.video_id, j.video_id),
    metadata = case when jsonb_typeof(j.metadata) = 'object' then j.metadata else '{}' end || jsonb_build_object('assets', assets.list, 'progress', 100)
  from held, assets
  where j.id = held.id and held.status = 'processing' and assets.complete
  returning j.id
)
select
  exists (select from completed) or exists (select from held where status = 'completed') as completed,
  exists (select from held where status = 'processing') as held
