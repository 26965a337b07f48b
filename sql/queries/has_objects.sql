-- Whether any of these objects is one of the storage beside this database.
select exists (
  select from storage.objects o where o.bucket_id = %(bucket)s and o.name = any (%(keys)s::text[])
) as answer
