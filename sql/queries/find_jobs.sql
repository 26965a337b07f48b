-- The job whose id lies between these two; two rows when there are more.
select j.id from public.jobs j where j.id between %(low)s::uuid and %(high)s::uuid limit 2
