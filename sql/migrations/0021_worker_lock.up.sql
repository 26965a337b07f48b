-- What:  consumer.workers.lock_key: the advisory lock that the worker's listening connection holds, NULL where it holds none.
-- Why:   a lock goes with its connection, and a connection with its process. So a worker whose lock is free, and that sends
--        no heartbeat either, is dead: its jobs need not wait for a whole lease.
-- Locks: ACCESS EXCLUSIVE for a moment on consumer.workers (ADD COLUMN without a default: no rewrite).
-- Undo:  0021_worker_lock.down.sql.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

alter table consumer.workers add column if not exists lock_key integer;

comment on column consumer.workers.lock_key is 'The advisory lock (1668247155, lock_key) of its listening connection; NULL: it holds none, and only the lease counts.';
