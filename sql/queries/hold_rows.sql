-- Hold the images and videos of these jobs until this transaction ends: for each job how many there are, whether one of
-- them is the application's, and whether somebody else holds one.
with free_images as materialized (
  select i.id from public.images i where i.job_id = any (%(job_ids)s::uuid[]) order by i.id for update skip locked
),
free_videos as materialized (
  select v.id from public.videos v where v.job_id = any (%(job_ids)s::uuid[]) order by v.id for update skip locked
)
select r.job_id, sum(r.image) as images, sum(1 - r.image) as videos, bool_or(not r.managed) as application, bool_or(not r.free) as held
from (
  select i.job_id, 1 as image, i.managed, i.id in (select f.id from free_images f) as free
  from public.images i where i.job_id = any (%(job_ids)s::uuid[])
  union all
  select v.job_id, 0, v.managed, v.id in (select f.id from free_videos f)
  from public.videos v where v.job_id = any (%(job_ids)s::uuid[])
) as r
group by r.job_id
