-- Delete the rows that these jobs have in the table that some applications have beside ours.
delete from public.workspace_assets w where w.job_id = any (%(job_ids)s::uuid[])
