-- The unique indexes of images and videos but their primary keys, with their columns; and any index that has the name of ours.
select c.relname as relation, i.relname as name, x.indisunique as is_unique, x.indpred is not null as partial, x.indexprs is not null as computed,
  array(
    select a.attname::text from unnest(x.indkey::smallint[]) with ordinality as k (attnum, place)
    join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
    where k.place <= x.indnkeyatts
    order by k.place
  ) as columns
from pg_index x
join pg_class c on c.oid = x.indrelid
join pg_class i on i.oid = x.indexrelid
where c.relnamespace = to_regnamespace('public') and c.relname in ('images', 'videos') and not x.indisprimary
  and (x.indisunique or i.relname = c.relname || '_job_id_image_index_key')
order by c.relname, i.relname
