-- The rows of this job that have no result yet: their index, NULL for one that the application left loose. All of ours
-- count, however many images the job type makes by now.
select i.image_index
from public.images i
where i.job_id = %(job_id)s::uuid and i.status is distinct from 'completed'
  and (i.managed or i.image_index between 0 and %(count)s::integer - 1 or i.image_index is null)
order by i.image_index
