-- Whether there is such a bucket.
select exists (select from storage.buckets b where b.id = %(name)s::text) as there
