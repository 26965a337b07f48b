-- Undoes 0004.
-- transaction: none

set lock_timeout = '5s';

set statement_timeout = 0;

drop index concurrently if exists public.videos_job_id_image_index_key;

reset statement_timeout;

reset lock_timeout;
