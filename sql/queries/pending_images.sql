-- The indexes of this job that have no result yet.
select i.image_index
from public.images i
where i.job_id = %(job_id)s::uuid and i.image_index between 0 and %(count)s::integer - 1
  and i.status is distinct from 'completed'
order by i.image_index
