-- Undoes 0003.
-- Locks: dropped CONCURRENTLY: it waits for transactions that may use the index, and nobody waits for it.
-- transaction: none

set lock_timeout = '10min';

set statement_timeout = 0;

drop index concurrently if exists public.images_job_id_image_index_key;

reset statement_timeout;

reset lock_timeout;
