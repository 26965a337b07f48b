-- Ask to be notified: this worker is about to look for work once more, and to wait if there is none.
update consumer.workers set idle_since = now() where id = %(worker_id)s::uuid and idle_since is null
