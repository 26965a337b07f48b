-- Undoes 0002; the columns go with their values, where this revision added them.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

select consumer.drop_column('public.videos', 'image_index');

select consumer.drop_column('public.videos', 'job_id');

select consumer.drop_column('public.images', 'image_index');
