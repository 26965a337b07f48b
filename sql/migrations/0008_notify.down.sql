-- Undoes 0008; workers find new jobs by their sweep alone.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

drop trigger if exists consumer_wake_idle_worker on public.jobs;

drop function if exists consumer.wake_idle_worker();
