-- Undoes 0002; the columns go with their values, where this revision added them. Refuses while a table that the
-- migrations created holds rows: without its index no picture could be told from another.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

-- Tried first.
do $$
begin
  if to_regclass('consumer.created') is null then
    return;
  end if;
  if exists (
    select from consumer.created where object in ('public.images.image_index', 'public.videos.image_index', 'public.videos.job_id')
  ) then
    perform consumer.refuse_while_rows('0002');
  end if;
end
$$;

do $$
begin
  if to_regclass('consumer.created') is null then
    return;
  end if;
  perform consumer.drop_column('public.videos', 'image_index');
  perform consumer.drop_column('public.videos', 'job_id');
  perform consumer.drop_column('public.images', 'image_index');
end
$$;
