-- Keep these jobs as they are until this transaction ends: nobody can put one back in line.
select j.id from public.jobs j where j.id = any (%(job_ids)s::uuid[]) order by j.id for share
