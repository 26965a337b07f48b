-- The indexes of this job that have no result yet.
select v.image_index
from public.videos v
where v.job_id = %(job_id)s::uuid and v.image_index between 0 and %(count)s::integer - 1
  and v.status is distinct from 'completed'
order by v.image_index
