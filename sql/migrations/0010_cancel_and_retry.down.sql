-- Undoes 0010.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

drop function if exists public.retry_job(uuid);

drop function if exists public.cancel_job(uuid);

drop function if exists consumer.retry_job(uuid);

drop function if exists consumer.cancel_job(uuid);

drop function if exists consumer.lock_own_job(uuid);

delete from consumer.created where object in ('public.cancel_job(uuid)', 'public.retry_job(uuid)');
