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
  original_prompt text,
  enhanced_prompt text,
  enhancement_strategy varchar(50),
  enhancement_time_ms integer,
  quality_improvement numeric(7, 2),
  qwen_expansion_percentage numeric(7, 2),
  compel_weights jsonb
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
  moderation_reviewed_by uuid,
  moderation_reviewed_at timestamptz,
  moderation_notes text,
  job_id uuid,
  image_index integer,
  reference_image_url text,
  reference_strength numeric(7, 2),
  reference_type text,
  seed bigint,
  original_prompt text,
  enhancement_strategy varchar(50),
  enhancement_time_ms integer,
  quality_improvement numeric(7, 2),
  qwen_expansion_percentage numeric(7, 2),
  compel_weights jsonb
);

create table public.jobs (
  id uuid primary key default gen_random_uuid(),
  video_id uuid references public.videos (id) on delete cascade,
  user_id uuid not null references public.profiles (id) on delete cascade,
  job_type text not null check (job_type in (
    'sdxl_image_fast', 'sdxl_image_high', 'image_fast', 'image_high', 'video_fast', 'video_high', 'rv51_fast',
    'image7b_fast_enhanced', 'image7b_high_enhanced', 'video7b_fast_enhanced', 'video7b_high_enhanced'
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
  enhancement_strategy varchar(50),
  enhancement_time_ms integer,
  quality_rating numeric(7, 2),
  quality_improvement numeric(7, 2),
  qwen_expansion_percentage numeric(7, 2),
  compel_weights jsonb,
  moderation_status text default 'pending',
  moderation_reviewed_by uuid,
  moderation_reviewed_at timestamptz,
  moderation_notes text,
  destination text default 'library' check (destination in ('library', 'workspace')),
  workspace_session_id uuid,
  template_name text,
  prompt_test_id uuid,
  test_metadata jsonb
);

alter table public.images add constraint images_job_id_fkey foreign key (job_id) references public.jobs (id) on delete cascade;

create index idx_jobs_status_created on public.jobs (status, created_at) where status in ('processing', 'queued');

create function public.validate_job_completion() returns trigger language plpgsql as $$
begin
  if new.status = 'completed' then
    if new.job_type like '%image%' and new.image_id is null then
      raise exception 'An image job cannot be completed without its image_id.';
    end if;
    if new.job_type like '%video%' and new.video_id is null then
      raise exception 'A video job cannot be completed without its video_id.';
    end if;
  end if;
  return new;
end
$$;

create trigger validate_job_completion before update on public.jobs
for each row execute function public.validate_job_completion();

create function public.validate_video_completion() returns trigger language plpgsql as $$
begin
  if new.status = 'completed' and new.video_url is null then
    raise exception 'A video cannot be completed without its video_url.';
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
    execute format('create policy "Users view own" on public.%I for select using (user_id = auth.uid())', name);
    execute format('create policy "Users add own" on public.%I for insert with check (user_id = auth.uid())', name);
    execute format('create policy "Users change own" on public.%I for update using (user_id = auth.uid())', name);
    execute format('create policy "Users remove own" on public.%I for delete using (user_id = auth.uid())', name);
    execute format('grant all on table public.%I to anon, authenticated, service_role', name);
    execute format('alter publication supabase_realtime add table public.%I', name);
  end loop;
end
$$;

-- What two users left there.

insert into auth.users (id) values
  ('00000000-0000-4000-8000-000000000001'), ('00000000-0000-4000-8000-000000000002');

insert into public.profiles (id) select id from auth.users;

insert into public.videos (id, user_id, status, video_url, metadata, created_at, updated_at)
select key::uuid, owner::uuid, status, video_url, metadata::jsonb, '2025-07-10', '2025-07-10'
from (values
  -- of queued job 3, of completed job 4, of failed job 9
  ('20000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000001', 'queued', null, null),
  ('20000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000001', 'completed', '0.mp4', '{"fps": 16}'),
  ('20000000-0000-4000-8000-000000000009', '00000000-0000-4000-8000-000000000001', 'generating', null, null),
  -- of no job: one that nobody will finish, one that its user may, one without a status
  ('20000000-0000-4000-8000-000000000101', '00000000-0000-4000-8000-000000000001', 'processing', null, 'null'),
  ('20000000-0000-4000-8000-000000000102', '00000000-0000-4000-8000-000000000001', 'draft', null, null),
  ('20000000-0000-4000-8000-000000000103', '00000000-0000-4000-8000-000000000002', null, null, '[]')
) as v (key, owner, status, video_url, metadata);

insert into public.jobs (id, user_id, job_type, status, video_id, metadata, attempts, max_attempts, original_prompt, created_at)
select key::uuid, owner::uuid, job_type, status, video_id::uuid, metadata::jsonb, attempts, attempts + 3, prompt,
  '2025-07-10'::timestamptz + row_number() over () * interval '1 hour'
from (values
  ('10000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', 'sdxl_image_fast', 'processing',
    null, '{"num_images": 3, "seed": 0}', 0, 'A harbour'),
  ('10000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'sdxl_image_fast', 'queued',
    null, '{"num_images": 3}', 0, 'A harbour'),
  ('10000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000001', 'video_fast', 'queued',
    '20000000-0000-4000-8000-000000000003', null, null, 'A harbour at night'),
  ('10000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000001', 'video_fast', 'completed',
    '20000000-0000-4000-8000-000000000004', '{}', 0, 'A harbour at noon'),
  ('10000000-0000-4000-8000-000000000005', '00000000-0000-4000-8000-000000000001', 'rv51_fast', 'queued',
    null, '[]', null, null),
  ('10000000-0000-4000-8000-000000000006', '00000000-0000-4000-8000-000000000001', 'image_high', 'failed',
    null, null, null, null),
  ('10000000-0000-4000-8000-000000000007', '00000000-0000-4000-8000-000000000001', 'image_high', null,
    null, null, null, 'A harbour in fog'),
  ('10000000-0000-4000-8000-000000000008', '00000000-0000-4000-8000-000000000001', 'sdxl_image_high', 'processing',
    null, null, 0, 'A harbour in rain'),
  ('10000000-0000-4000-8000-000000000009', '00000000-0000-4000-8000-000000000001', 'video_high', 'failed',
    '20000000-0000-4000-8000-000000000009', null, null, null),
  ('10000000-0000-4000-8000-000000000010', '00000000-0000-4000-8000-000000000002', 'sdxl_image_fast', 'queued',
    null, '[]', null, 'A mountain'),
  ('10000000-0000-4000-8000-000000000011', '00000000-0000-4000-8000-000000000002', 'sdxl_image_fast', 'queued',
    null, '{"num_images": 1, "image_ids": ["30000000-0000-4000-8000-000000000111"]}', 0, 'A mountain'),
  ('10000000-0000-4000-8000-000000000012', '00000000-0000-4000-8000-000000000002', 'rv51_fast', 'processing',
    null, '{}', 0, null),
  ('10000000-0000-4000-8000-000000000013', '00000000-0000-4000-8000-000000000002', 'sdxl_image_high', 'completed',
    null, '{}', 0, 'A mountain')
) as j (key, owner, job_type, status, video_id, metadata, attempts, prompt);

insert into public.images (id, user_id, prompt, job_id, image_index, status, image_url, created_at, updated_at)
select key::uuid, owner::uuid, 'A picture', job_id::uuid, place, status, image_url, '2025-07-10', '2025-07-11'
from (values
  -- the pictures of job 1
  ('30000000-0000-4000-8000-000000000010', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000001', 0, 'completed', '0.png'),
  ('30000000-0000-4000-8000-000000000011', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000001', 1, 'completed', '1.png'),
  ('30000000-0000-4000-8000-000000000012', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000001', 2, 'completed', '2.png'),
  -- placeholders of queued job 2, without an index
  ('30000000-0000-4000-8000-000000000020', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000002', null, 'pending', null),
  ('30000000-0000-4000-8000-000000000021', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000002', null, 'generating', null),
  -- what failed job 6 never finished, and what it said
  ('30000000-0000-4000-8000-000000000060', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000006', 0, 'failed', null),
  ('30000000-0000-4000-8000-000000000061', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000006', 1, 'queued', null),
  -- a placeholder of job 8, which a worker took and never ended
  ('30000000-0000-4000-8000-000000000080', '00000000-0000-4000-8000-000000000001',
    '10000000-0000-4000-8000-000000000008', 0, 'queued', null),
  -- named in the metadata of queued job 11, and not linked yet
  ('30000000-0000-4000-8000-000000000111', '00000000-0000-4000-8000-000000000002', null, null, 'pending', null),
  -- the picture of job 13, from before there was an index
  ('30000000-0000-4000-8000-000000000130', '00000000-0000-4000-8000-000000000002',
    '10000000-0000-4000-8000-000000000013', null, 'completed', 'old.png'),
  -- of no job: two that nobody will finish, one that was uploaded
  ('30000000-0000-4000-8000-000000000201', '00000000-0000-4000-8000-000000000001', null, null, 'pending', null),
  ('30000000-0000-4000-8000-000000000202', '00000000-0000-4000-8000-000000000002', null, 0, 'generating', null),
  ('30000000-0000-4000-8000-000000000203', '00000000-0000-4000-8000-000000000001', null, null, 'completed', 'mine.png')
) as i (key, owner, job_id, place, status, image_url);

-- A page that is being filled in right now.
insert into public.images (id, user_id, prompt) values
  ('30000000-0000-4000-8000-000000000204', '00000000-0000-4000-8000-000000000001', 'A picture');

update public.jobs j set image_id = i.id, status = 'completed', completed_at = '2025-07-11'
from public.images i
where i.job_id = j.id and i.status = 'completed' and (i.image_index = 0 or i.image_index is null);
