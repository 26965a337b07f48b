-- Undoes 0007; the rows that it made stay, and jobs inserted from now on get none.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

drop trigger if exists consumer_link_late_row on public.jobs;

drop trigger if exists consumer_replace_ours on public.videos;

drop trigger if exists consumer_make_room on public.videos;

drop trigger if exists consumer_replace_ours on public.images;

drop trigger if exists consumer_make_room on public.images;

drop trigger if exists consumer_keep_in_line on public.jobs;

drop trigger if exists consumer_create_rows on public.jobs;

drop trigger if exists consumer_put_in_line on public.jobs;

drop function if exists consumer.link_late_row();

drop function if exists consumer.keep_in_line();

drop function if exists consumer.replace_ours();

drop function if exists consumer.make_room();

drop function if exists consumer.create_rows();

drop function if exists consumer.link_named_rows(public.jobs, consumer.job_types);

drop function if exists consumer.put_in_line();

drop function if exists consumer.refuse_unless_plain(public.jobs);

drop function if exists consumer.asset_count(jsonb, consumer.job_types);

drop function if exists consumer.api_role();
