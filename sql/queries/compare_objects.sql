-- Whether the storage beside this database has any of these objects of some jobs; and whether it has one more, which a row
-- of theirs names.
select
  exists (select from storage.objects o where o.bucket_id = %(bucket)s and o.name = any (%(keys)s::text[])) as known,
  exists (
    select from (
      select i.job_id, unnest(array[i.image_url, i.thumbnail_url]) as key from public.images i where i.job_id = any (%(job_ids)s::uuid[])
      union all
      select v.job_id, unnest(array[v.video_url, v.thumbnail_url]) from public.videos v where v.job_id = any (%(job_ids)s::uuid[])
    ) as named
    join public.jobs j on j.id = named.job_id and starts_with(named.key, j.user_id || '/' || j.id || '/')
    join storage.objects o on o.name = named.key
    where o.bucket_id = %(bucket)s and o.name <> all (%(keys)s::text[])
  ) as more
