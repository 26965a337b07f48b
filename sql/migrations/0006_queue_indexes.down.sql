-- Undoes 0006.
-- Locks: dropped CONCURRENTLY: it waits for transactions that may use the index, and nobody waits for it.
-- transaction: none

set lock_timeout = '10min';

set statement_timeout = 0;

drop index concurrently if exists public.videos_user_id_created_at_idx;

drop index concurrently if exists public.images_user_id_created_at_idx;

drop index concurrently if exists public.jobs_video_id_idx;

drop index concurrently if exists public.jobs_image_id_idx;

drop index concurrently if exists public.jobs_user_id_created_at_idx;

drop index concurrently if exists public.jobs_worker_idx;

drop index concurrently if exists public.jobs_due_idx;

drop index concurrently if exists public.jobs_claim_idx;

reset statement_timeout;

reset lock_timeout;
