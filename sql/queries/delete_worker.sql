-- Take leave: a worker that holds nothing any more needs no rescue.
delete from consumer.workers where id = %(worker_id)s::uuid
