-- The platform's own tables as they were in July 2025, without anything of ours: nearly everything is nullable, some
-- rows never became anything, and a user does what he likes with what is his.

create table public.profiles (id uuid primary key references auth.users (id) on delete cascade, username text);

create table public.videos (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references public.profiles (id) on delete cascade,
  project_id uuid,
  thumbnail_url text,
  video_url text,
  preview_url text,
  status text default 'draft'
    check (status in ('draft', 'queued', 'processing', 'generating', 'completed', 'failed', 'cancelled')),
  duration integer default 5,
  resolution text default '720p',
  format text default 'mp4',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  completed_at timestamptz,
  expires_at timestamptz default now() + interval '30 days',
  error_message text,
  signed_url text,
  signed_url_expires_at timestamptz,
  metadata jsonb,
  title text,
  enhanced_prompt text
);

create table public.images (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references public.profiles (id) on delete cascade,
  project_id uuid,
  title text,
  prompt text not null,
  enhanced_prompt text,
  image_url text,
  thumbnail_url text,
  generation_mode text not null default 'standalone',
  status text not null default 'pending',
  metadata jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  format text default 'png',
  quality text,
  image_urls jsonb,
  signed_url text,
  signed_url_expires_at timestamptz,
  file_size bigint,
  moderation_status text default 'pending',
  job_id uuid,
  image_index integer,
  reference_image_url text,
  reference_strength numeric(7, 2),
  reference_type text,
  seed bigint
);

create table public.jobs (
  id uuid primary key default gen_random_uuid(),
  video_id uuid references public.videos (id) on delete cascade,
  user_id uuid not null references public.profiles (id) on delete cascade,
  job_type text not null check (job_type in (
    'sdxl_image_fast', 'sdxl_image_high', 'image_fast', 'image_high', 'video_fast', 'video_high', 'rv51_fast'
  )),
  status text default 'queued' check (status in ('queued', 'processing', 'completed', 'failed')),
  error_message text,
  attempts integer default 0,
  max_attempts integer default 3,
  metadata jsonb,
  created_at timestamptz default now(),
  started_at timestamptz,
  completed_at timestamptz,
  project_id uuid,
  image_id uuid references public.images (id) on delete cascade,
  format text check (format in ('image', 'video')),
  quality text check (quality in ('fast', 'high')),
  model_type text,
  original_prompt text,
  enhanced_prompt text,
  compel_weights jsonb,
  moderation_status text default 'pending',
  destination text default 'library' check (destination in ('library', 'workspace')),
  test_metadata jsonb
);

alter table public.images add constraint images_job_id_fkey foreign key (job_id) references public.jobs (id) on delete cascade;

create index idx_jobs_status_created on public.jobs (status, created_at) where status in ('processing', 'queued');

create function public.validate_job_completion() returns trigger language plpgsql as $$
begin
  if new.status = 'completed' and new.image_id is null and new.video_id is null then
    raise exception 'A completed job needs its image or its video.';
  end if;
  return new;
end
$$;

create trigger validate_job_completion before update on public.jobs
for each row execute function public.validate_job_completion();

create function public.validate_video_completion() returns trigger language plpgsql as $$
begin
  if new.status = 'completed' and new.video_url is null then
    raise exception 'A completed video needs its video_url.';
  end if;
  return new;
end
$$;

create trigger validate_video_completion before insert or update on public.videos
for each row execute function public.validate_video_completion();

do $$
declare
  name text;
begin
  foreach name in array array['jobs', 'images', 'videos'] loop
    execute format('alter table public.%I enable row level security', name);
    execute format('alter table public.%I replica identity full', name);
    execute format('create policy "Users manage own" on public.%I to authenticated using (user_id = auth.uid())', name);
    execute format('grant all on table public.%I to anon, authenticated, service_role', name);
    execute format('alter publication supabase_realtime add table public.%I', name);
  end loop;
end
$$;

-- What one user left there.

insert into auth.users (id) values ('00000000-0000-4000-8000-000000000001');

insert into public.profiles (id) select id from auth.users;

insert into public.videos (id, user_id, status, video_url)
select key::uuid, p.id, status, video_url
from public.profiles p, (values
  ('20000000-0000-4000-8000-000000000003', 'queued', null),
  ('20000000-0000-4000-8000-000000000004', 'completed', '0.mp4')
) as v (key, status, video_url);

insert into public.jobs (id, user_id, job_type, status, video_id, metadata, attempts, max_attempts)
select key::uuid, p.id, job_type, status, video_id::uuid, metadata::jsonb, attempts, attempts + 3
from public.profiles p, (values
  ('10000000-0000-4000-8000-000000000001', 'sdxl_image_fast', 'processing', null, '{"num_images": 3, "seed": 0}', 0),
  ('10000000-0000-4000-8000-000000000002', 'sdxl_image_fast', 'queued', null, '{"num_images": 3}', 0),
  ('10000000-0000-4000-8000-000000000003', 'video_fast', 'queued', '20000000-0000-4000-8000-000000000003', null, 0),
  ('10000000-0000-4000-8000-000000000004', 'video_fast', 'completed', '20000000-0000-4000-8000-000000000004', '{}', 0),
  ('10000000-0000-4000-8000-000000000005', 'rv51_fast', 'queued', null, '[]', null),
  ('10000000-0000-4000-8000-000000000006', 'image_high', 'failed', null, null, null),
  ('10000000-0000-4000-8000-000000000007', 'image_high', null, null, null, null)
) as j (key, job_type, status, video_id, metadata, attempts);

-- Job 1 has its pictures, job 2 placeholders without an index, and one placeholder has no job at all.
insert into public.images (user_id, prompt, job_id, image_index, status, image_url)
select p.id, 'A harbour', job_id::uuid, place, status, place || '.png'
from public.profiles p, (values
  ('10000000-0000-4000-8000-000000000001', 0, 'completed'),
  ('10000000-0000-4000-8000-000000000001', 1, 'completed'),
  ('10000000-0000-4000-8000-000000000001', 2, 'completed'),
  ('10000000-0000-4000-8000-000000000002', null, 'pending'),
  ('10000000-0000-4000-8000-000000000002', null, 'generating'),
  (null, null, 'pending')
) as i (job_id, place, status);

update public.jobs j set image_id = i.id, status = 'completed', completed_at = now()
from public.images i
where i.job_id = j.id and i.image_index = 0;
