-- The rows of this job that have no result yet: their index, NULL for one that the application left loose.
select v.image_index
from public.videos v
where v.job_id = %(job_id)s::uuid and v.status is distinct from 'completed'
  and (v.image_index < %(count)s::integer or v.image_index is null)
order by v.image_index
