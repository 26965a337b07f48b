-- Who of the API roles may call what users call.
select r.rolname as role, f.name, has_function_privilege(r.oid, f.name, 'execute') as may
from pg_catalog.pg_roles r
cross join unnest(array['public.cancel_job(uuid)', 'public.retry_job(uuid)']) as f (name)
where r.rolname in ('anon', 'authenticated') and to_regprocedure(f.name) is not null
order by 1, 2
