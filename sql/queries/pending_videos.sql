-- The same as pending_images for videos; one that only jobs.video_id links is loose as well.
select v.image_index
from public.videos v
where v.job_id = %(job_id)s::uuid and v.status is distinct from 'completed'
  and (v.managed or v.image_index between 0 and %(count)s::integer - 1 or v.image_index is null)
union all
select null
from public.jobs j
join public.videos v on v.id = j.video_id and v.user_id = j.user_id
where j.id = %(job_id)s::uuid and v.job_id is null and v.image_index is null and v.status is distinct from 'completed'
order by image_index
