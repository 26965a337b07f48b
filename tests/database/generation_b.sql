-- The platform's own tables as they were from mid August 2025 on, without anything of ours: images and videos are gone, and
-- each finished asset is a row of workspace_assets. What they left in jobs.image_id refers to nothing.

create table public.profiles (id uuid primary key references auth.users (id) on delete cascade, username text);

create table public.jobs (
  id uuid primary key default gen_random_uuid(),
  video_id uuid,
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
  image_id uuid,
  format text check (format in ('image', 'video')),
  quality text check (quality in ('fast', 'high')),
  model_type text,
  original_prompt text,
  enhanced_prompt text,
  destination text default 'library' check (destination in ('library', 'workspace')),
  workspace_session_id uuid
);

create index idx_jobs_status_created on public.jobs (status, created_at) where status in ('processing', 'queued');

create table public.workspace_assets (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references public.profiles (id) on delete cascade,
  asset_type text not null check (asset_type in ('image', 'video')),
  temp_storage_path text not null,
  file_size_bytes bigint not null,
  mime_type text not null,
  duration_seconds numeric,
  job_id uuid not null references public.jobs (id) on delete cascade,
  asset_index integer not null default 0,
  generation_seed bigint not null,
  original_prompt text not null,
  model_used text not null,
  generation_settings jsonb default '{}',
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '7 days',
  thumbnail_path text,
  width integer,
  height integer
);

alter table public.jobs enable row level security;
alter table public.workspace_assets enable row level security;
create policy "Users manage own" on public.jobs to authenticated using (user_id = auth.uid());
create policy "Users view own" on public.workspace_assets for select using (user_id = auth.uid());
create policy "Users add own" on public.workspace_assets for insert with check (user_id = auth.uid());
create policy "Users change own" on public.workspace_assets for update using (user_id = auth.uid());
create policy "Users remove own" on public.workspace_assets for delete using (user_id = auth.uid());
grant all on table public.jobs, public.workspace_assets to anon, authenticated, service_role;
alter publication supabase_realtime add table public.jobs, public.workspace_assets;

-- What one user left there.

insert into auth.users (id) values ('00000000-0000-4000-8000-000000000001'), ('00000000-0000-4000-8000-000000000002');

insert into public.profiles (id) select id from auth.users;

insert into public.jobs (id, user_id, job_type, status, image_id, metadata) values
  ('10000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', 'sdxl_image_fast', 'completed',
    '30000000-0000-4000-8000-000000000001', '{"num_images": 1}'),
  ('10000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'rv51_fast', 'processing', null, null);

insert into public.workspace_assets
  (user_id, asset_type, temp_storage_path, file_size_bytes, mime_type, job_id, generation_seed, original_prompt, model_used)
select user_id, 'image', user_id || '/' || id || '/0.png', 1000, 'image/png', id, 7, 'A harbour', 'sdxl'
from public.jobs where status = 'completed';
