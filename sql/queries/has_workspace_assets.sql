-- Whether there is the table that some applications have beside ours.
select to_regclass('public.workspace_assets') is not null as answer
