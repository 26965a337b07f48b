-- Delete these jobs with their images and videos, whatever the foreign keys of an older table would do.
with gone_images as (
  delete from public.images i where i.job_id = any (%(job_ids)s::uuid[])
),
gone_videos as (
  delete from public.videos v where v.job_id = any (%(job_ids)s::uuid[])
)
delete from public.jobs j where j.id = any (%(job_ids)s::uuid[])
