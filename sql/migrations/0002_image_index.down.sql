-- Undoes 0002; the columns go with their values, where this revision added them. Refuses while a table that the
-- migrations created holds rows: without its index no picture could be told from another.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

select consumer.refuse_while_rows('0002');

select consumer.drop_column('public.videos', 'image_index');

select consumer.drop_column('public.videos', 'job_id');

select consumer.drop_column('public.images', 'image_index');
