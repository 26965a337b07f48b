-- Undoes 0021: dead workers are known by their lease alone.
-- Locks: ACCESS EXCLUSIVE for a moment on consumer.workers.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

alter table consumer.workers drop column if exists lock_key;
