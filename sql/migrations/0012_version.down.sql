-- Undoes 0012; the columns go where this revision added them.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

drop trigger if exists consumer_touch on public.videos;

drop trigger if exists consumer_touch on public.images;

drop trigger if exists consumer_touch on public.jobs;

drop function if exists consumer.touch();

drop sequence if exists consumer.versions;

select consumer.drop_column('public.videos', 'version');

select consumer.drop_column('public.images', 'version');

select consumer.drop_column('public.jobs', 'version');

select consumer.drop_column('public.jobs', 'updated_at');
