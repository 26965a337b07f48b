-- Undoes 0024: a claim tells nothing of what is to be made. A worker that needs it ends with its next claim.
-- Locks: none that anybody waits for.

set local lock_timeout = '5s';

set local statement_timeout = '60s';

drop function if exists consumer.pending_images(uuid), consumer.pending_images(uuid[]);
