-- Generated from sql/migrations by `make schema`; a test compares the two.

CREATE SCHEMA consumer;

CREATE FUNCTION consumer.add_column(relation text, name text, definition text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = relation::regclass and a.attname = name and not a.attisdropped
  ) then
    return;
  end if;
  execute format('alter table %s add column %I %s', relation, name, definition);
  insert into consumer.created (object) values (relation || '.' || name) on conflict do nothing;
end
$$;

CREATE FUNCTION consumer.admit(users uuid[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
#variable_conflict use_variable
declare
  holder uuid;
  most integer;
  job public.jobs;
  kind consumer.job_types;
  total integer := 0;
begin
  foreach holder in array users loop
    -- Whoever has the lock is admitting this user's jobs now, and the next sweep sees what it could not see.
    continue when not exists (
      select from public.jobs j
      where j.user_id = holder and j.status = 'queued' and j.queue_at is null and j.available_at is null and j.engine is not null
    ) or not pg_try_advisory_xact_lock(7121, hashtext(holder::text));
    most := (consumer.limits_of(holder)).max_running;
    for job in
      select h.* from public.jobs h
      where h.user_id = holder and h.status = 'queued' and h.queue_at is null and h.available_at is null and h.engine is not null
      order by h.created_at
      limit case when most is not null then greatest(0, most - (
        select count(*) from public.jobs b
        where b.user_id = holder and b.engine is not null and (b.status = 'processing' or (b.status = 'queued' and b.queue_at is not null))
      )) end
      for update skip locked
    loop
      if job.start_tag is null then
        select * into kind from consumer.job_types t where t.job_type = job.job_type;
        job := consumer.line_up(job, kind);
      end if;
      update public.jobs j set start_tag = job.start_tag, finish_tag = job.finish_tag, queue_at = job.start_tag where j.id = job.id;
      total := total + 1;
    end loop;
  end loop;
  if total > 0 and exists (
    select from consumer.workers w where w.idle_since is not null and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
  ) then
    perform pg_notify('consumer_jobs', '');
  end if;
  return total;
end
$$;

COMMENT ON FUNCTION consumer.admit(users uuid[]) IS 'Put held jobs of these users in line, as far as max_running lets them, and wake an idle worker; says how many.';

CREATE FUNCTION consumer.api_role() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  -- The role that PostgREST set for this transaction; SECURITY DEFINER changes current_user but not this.
  select coalesce(current_setting('role', true), 'none') in ('anon', 'authenticated')
$$;

CREATE FUNCTION consumer.apply_limits() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
declare
  holder uuid := case when tg_op = 'DELETE' then old.user_id else new.user_id end;
begin
  -- What stands in line already is held, and the sweep admits what may run.
  update public.jobs j set queue_at = null, start_tag = null, finish_tag = null
  where j.status = 'queued' and j.queue_at is not null and j.engine is not null
    and (j.user_id = holder or (holder is null and not exists (select from consumer.user_limits l where l.user_id = j.user_id)))
    and consumer.is_limited(j.user_id);
  perform pg_notify('consumer_jobs', '');
  return null;
end
$$;

CREATE FUNCTION consumer.as_texts(relation regclass) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select format(
    'jsonb_object(array[%s], array[%s])',
    string_agg(quote_literal(a.attname), ', ' order by a.attnum), string_agg(format('a.%I::text', a.attname), ', ' order by a.attnum)
  )
  from pg_attribute a
  where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
$$;

CREATE TABLE consumer.job_types (
    job_type text NOT NULL,
    engine text NOT NULL,
    medium text NOT NULL,
    default_count integer NOT NULL,
    max_count integer NOT NULL,
    cost double precision NOT NULL,
    pushed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT job_types_cost_check CHECK ((cost > (0)::double precision)),
    CONSTRAINT job_types_count_check CHECK (((1 <= default_count) AND (default_count <= max_count))),
    CONSTRAINT job_types_medium_check CHECK ((medium = ANY (ARRAY['image'::text, 'video'::text])))
);

COMMENT ON TABLE consumer.job_types IS 'What the triggers know of a job type; written by `consumer job-types push` from the TOML.';

CREATE FUNCTION consumer.asset_count(metadata jsonb, kind consumer.job_types) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  sent jsonb := metadata -> 'num_images';
  amount numeric := kind.default_count;
begin
  if sent is not null and sent <> 'null' then
    amount := case
      when jsonb_typeof(sent) = 'number' then (sent #>> '{}')::numeric
      when jsonb_typeof(sent) = 'string' and sent #>> '{}' ~ '^[0-9]{1,9}$' then (sent #>> '{}')::numeric
    end;
  end if;
  if amount is null or amount <> trunc(amount) or amount not between 1 and kind.max_count then
    raise exception 'num_images must be a whole number from 1 to %.', kind.max_count using errcode = '22023';
  end if;
  return amount;
end
$_$;

CREATE FUNCTION consumer.cancel_job(wanted uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  job public.jobs := consumer.lock_own_job(wanted);
begin
  if job.status not in ('queued', 'processing') then
    return job.status;
  end if;
  update public.jobs j
  set status = 'cancelled', queue_at = null, available_at = null, worker_id = null, completed_at = now(),
    -- What was never served is not counted as service.
    finish_tag = case when job.status = 'processing' or job.attempts > 0 then j.finish_tag end
  where j.id = job.id;
  update public.images i set status = 'cancelled', updated_at = now()
  where i.job_id = job.id and coalesce(i.status, 'queued') not in ('completed', 'failed', 'cancelled');
  update public.videos v set status = 'cancelled', updated_at = now()
  where v.job_id = job.id and coalesce(v.status, 'queued') not in ('completed', 'failed', 'cancelled');
  if job.status = 'processing' then
    perform pg_notify('consumer_cancel', job.id::text);
  end if;
  perform consumer.admit(array[job.user_id]);
  return 'cancelled';
end
$$;

CREATE FUNCTION consumer.changed(before jsonb, after jsonb, fields text[]) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select field from unnest(fields) with ordinality as f (field, place)
  where before -> field is distinct from after -> field
  order by place limit 1
$$;

CREATE FUNCTION consumer.charge(sender uuid, wanted text, served timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if served > (select max(c.tag) from consumer.clocks c where c.engine = wanted) then
    insert into consumer.user_tags as t (user_id, engine, tag) values (sender, wanted, served)
    on conflict (user_id, engine) do update set tag = greatest(t.tag, excluded.tag);
    -- What the clock has passed says nothing any more.
    delete from consumer.user_tags t
    where (t.user_id, t.engine) in (
      select o.user_id, o.engine from consumer.user_tags o
      where o.tag < (select max(c.tag) from consumer.clocks c where c.engine = o.engine)
      limit 10
      for update skip locked
    );
  end if;
end
$$;

COMMENT ON FUNCTION consumer.charge(sender uuid, wanted text, served timestamp with time zone) IS 'Remember a service that was given, where its job will not tell of it any more.';

CREATE FUNCTION consumer.create_rows() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  job record;
begin
  perform consumer.refuse_if_too_many(sender.user_id)
  from (select distinct j.user_id from new_jobs j where j.engine is not null and j.status = 'queued') as sender;
  perform consumer.admit(array(
    select distinct j.user_id from new_jobs j
    where j.engine is not null and j.status = 'queued' and j.queue_at is null and j.available_at is null
  ));
  for job in
    select j.id, row(t.*)::consumer.job_types as kind
    from new_jobs j
    join consumer.job_types t using (job_type)
    where j.status = 'queued' and (j.image_id is not null or j.video_id is not null or j.metadata ? 'image_ids')
  loop
    perform consumer.link_named_rows(row(j.*)::public.jobs, job.kind) from public.jobs j where j.id = job.id;
  end loop;

  insert into public.images (job_id, user_id, image_index, status, prompt, metadata, managed)
  select j.id, j.user_id, p.place, 'queued', coalesce(j.original_prompt, j.metadata ->> 'prompt', ''), '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, row(t.*)::consumer.job_types) - 1) as p (place)
  where t.medium = 'image' and j.status = 'queued'
  on conflict (job_id, image_index) do nothing;

  insert into public.videos (job_id, user_id, image_index, status, metadata, managed)
  select j.id, j.user_id, p.place, 'queued', '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, row(t.*)::consumer.job_types) - 1) as p (place)
  where t.medium = 'video' and j.status = 'queued'
  on conflict (job_id, image_index) do nothing;
  return null;
end
$$;

CREATE FUNCTION consumer.drop_column(relation text, name text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  delete from consumer.created where object = relation || '.' || name;
  if found then
    execute format('alter table if exists %s drop column if exists %I', relation, name);
  end if;
end
$$;

CREATE FUNCTION consumer.fill_workspace_assets() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  sink regclass := to_regclass('public.workspace_assets');
  assets jsonb;
  names text;
  changes text;
begin
  -- What nobody measured is left out, so that the column's own default counts.
  select jsonb_agg(
    jsonb_strip_nulls(jsonb_build_object(
      'user_id', new.user_id, 'job_id', new.id, 'asset_index', a.image_index, 'asset_type', a.medium,
      'temp_storage_path', a.url, 'thumbnail_path', a.thumbnail_url,
      'file_size_bytes', a.file_size, 'mime_type', coalesce(a.measured ->> 'mime_type', a.medium || '/' || a.format),
      'width', a.measured -> 'width', 'height', a.measured -> 'height', 'duration_seconds', a.measured -> 'duration_seconds',
      'generation_seed', a.seed, 'model_used', coalesce(a.measured ->> 'model', new.engine),
      'original_prompt', coalesce(new.original_prompt, new.metadata ->> 'prompt', new.enhanced_prompt, '')
    )) || jsonb_build_object('generation_settings', a.measured)
  ) into assets
  from (
    select 'image' as medium, i.image_index, i.status, i.image_url as url, i.thumbnail_url, i.file_size, i.format, i.seed,
      case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{}' end as measured
    from public.images i where i.job_id = new.id
    union all
    select 'video', v.image_index, v.status, v.video_url, v.thumbnail_url, v.file_size, v.format, v.seed,
      case when jsonb_typeof(v.metadata) = 'object' then v.metadata else '{}' end
    from public.videos v where v.job_id = new.id
  ) as a
  -- A result that the application has put into its row itself was measured by nobody, and stays there.
  where a.status = 'completed' and a.image_index >= 0 and a.url is not null and a.file_size is not null and a.seed is not null;

  select string_agg(quote_ident(a.attname), ', '),
    string_agg(format('%1$I = excluded.%1$I', a.attname), ', ') filter (where a.attname not in ('job_id', 'asset_index'))
  into names, changes
  from pg_attribute a
  where a.attrelid = sink and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and exists (select from jsonb_array_elements(assets) as asset where asset ? a.attname);
  if names is not null then
    -- The owner is replaced, too: a row that somebody else put there beforehand must not become theirs.
    begin
      execute format(
        'insert into public.workspace_assets (%1$s) select %1$s from jsonb_populate_recordset(null::public.workspace_assets, $1) '
        'on conflict (job_id, asset_index) do update set %2$s', names, changes
      ) using assets;
    exception when object_not_in_prerequisite_state or program_limit_exceeded then
      -- No identity to publish, too long for an index: a client would take it for an outage, which passes, and wait for ever.
      raise exception 'The table workspace_assets refused the assets of a job: %', sqlerrm;
    end;
  end if;
  return null;
end
$_$;

CREATE FUNCTION consumer.guard_asset() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  was_ours boolean := consumer.is_ours(old.job_id);
  known boolean;
  owner uuid;
  field text;
begin
  if was_ours and old.user_id is distinct from auth.uid() then
    raise exception 'The job of this row must be your own.' using errcode = '42501';
  end if;
  if tg_op = 'DELETE' then
    return old;
  end if;
  if tg_op = 'INSERT' then
    -- An upsert of a row that is there already comes here again, as an UPDATE; locked, the row is still there by then.
    execute format('select true from %s a where a.id = $1 for key share', tg_relid::regclass) into known using new.id;
    if known then
      return new;
    end if;
  end if;
  field := case when new.managed is distinct from coalesce(old.managed, false) then 'managed' end;
  if was_ours then
    field := coalesce(field, consumer.changed(to_jsonb(old), to_jsonb(new), array[
      'id', 'user_id', 'job_id', 'status', 'image_url', 'video_url', 'thumbnail_url', 'seed', 'file_size', 'format', 'progress',
      'error_message', case when old.image_index is not null then 'image_index' end
    ]));
  end if;
  if field is not null then
    raise exception '% is set by the queue; leave it out.', field using errcode = '42501';
  end if;
  if was_ours or new.job_id is null then
    return new;
  end if;
  select j.user_id into owner from public.jobs j where j.id = new.job_id and j.engine is not null;
  if not found then
    return new;
  end if;
  if owner is distinct from auth.uid() then
    raise exception 'job_id must name a job of your own.' using errcode = '42501';
  end if;
  if new.user_id is distinct from owner then
    raise exception 'user_id must be your own id.' using errcode = '42501';
  end if;
  if new.status = 'completed' then
    raise exception 'status must not be completed: only a result makes it so.' using errcode = '42501';
  end if;
  return new;
end
$_$;

CREATE FUNCTION consumer.guard_job() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  before jsonb := to_jsonb(old);
  after jsonb := to_jsonb(new);
  field text;
begin
  if old.engine is not null and old.user_id is distinct from auth.uid() then
    raise exception 'The job must be your own.' using errcode = '42501';
  end if;
  if tg_op = 'DELETE' then
    return old;
  end if;
  if old.engine is null then
    field := consumer.changed(before, after, array['engine', 'queue_at', 'worker_id', 'claim_id']);
  else
    field := consumer.changed(before, after, array[
      'attempts', 'max_attempts', 'priority', 'available_at', 'start_tag', 'finish_tag', 'queue_at', 'engine', 'worker_id', 'claim_id',
      'started_at', 'completed_at', 'error_message', 'errors', 'status'
    ]);
  end if;
  if field = 'status' and new.status in ('cancelled', 'queued') then
    raise exception 'status is set by the queue; call %.', case new.status when 'queued' then 'retry_job' else 'cancel_job' end
      using errcode = '42501';
  elsif field is not null then
    raise exception '% is set by the queue; leave it out.', field using errcode = '42501';
  end if;
  if old.engine is null then
    return new;
  end if;
  field := consumer.changed(
    before, after, array['id', 'user_id', 'job_type', 'metadata', 'original_prompt', 'enhanced_prompt', 'idempotency_key']
  );
  if field is not null then
    raise exception '% stays as it was inserted; insert another job instead.', field using errcode = '42501';
  end if;
  if new.image_id is distinct from old.image_id and new.image_id is not null
    and not exists (select from public.images i where i.id = new.image_id and i.user_id = new.user_id) then
    raise exception 'image_id must name an image of your own.' using errcode = '42501';
  end if;
  if new.video_id is distinct from old.video_id and new.video_id is not null
    and not exists (select from public.videos v where v.id = new.video_id and v.user_id = new.user_id) then
    raise exception 'video_id must name a video of your own.' using errcode = '42501';
  end if;
  return new;
end
$$;

CREATE FUNCTION consumer.is_limited(wanted uuid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select (consumer.limits_of(wanted)).max_running is not null
$$;

CREATE FUNCTION consumer.is_ours(job_id uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select exists (select from public.jobs j where j.id = is_ours.job_id and j.engine is not null)
$$;

COMMENT ON FUNCTION consumer.is_ours(job_id uuid) IS 'For the policies, which users evaluate; without rights on the schema they cannot call it.';

CREATE FUNCTION consumer.keep_in_line() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  kind consumer.job_types;
begin
  select * into kind from consumer.job_types t where t.job_type = new.job_type;
  new.priority := coalesce(new.priority, 0);
  new.worker_id := null;
  new.attempts := 0;
  new.started_at := null;
  new.completed_at := null;
  new.error_message := null;
  new.start_tag := null;
  new.finish_tag := null;
  if new.available_at <= now() then
    new.available_at := null;
  end if;
  if new.available_at is not null or consumer.is_limited(new.user_id) then
    return new;
  end if;
  return consumer.line_up(new, kind);
end
$$;

CREATE FUNCTION consumer.keep_priority() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  new.priority := 0;
  return new;
end
$$;

CREATE FUNCTION consumer.keep_tag() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform consumer.charge(old.user_id, old.engine, old.finish_tag);
  return null;
end
$$;

CREATE TABLE consumer.user_limits (
    id bigint NOT NULL,
    user_id uuid,
    weight double precision DEFAULT 1 NOT NULL,
    max_queued integer,
    max_running integer,
    CONSTRAINT user_limits_max_queued_check CHECK ((max_queued >= 0)),
    CONSTRAINT user_limits_max_running_check CHECK ((max_running >= 1)),
    CONSTRAINT user_limits_weight_check CHECK (((weight >= (0.01)::double precision) AND (weight <= (100)::double precision)))
);

COMMENT ON TABLE consumer.user_limits IS 'Weights and limits of users, NULL for no limit; the row without user_id is for everybody who has none.';

CREATE FUNCTION consumer.limits_of(wanted uuid) RETURNS consumer.user_limits
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select l from consumer.user_limits l where l.user_id = wanted or l.user_id is null order by l.user_id limit 1
$$;

CREATE TABLE public.jobs (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    job_type text NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    original_prompt text,
    enhanced_prompt text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    error_message text,
    attempts integer DEFAULT 0 NOT NULL,
    max_attempts integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    image_id uuid,
    video_id uuid,
    engine text,
    priority integer DEFAULT 0 NOT NULL,
    available_at timestamp with time zone,
    start_tag timestamp with time zone,
    queue_at timestamp with time zone,
    worker_id uuid,
    claim_id bigint,
    idempotency_key text,
    errors jsonb DEFAULT '[]'::jsonb NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    finish_tag timestamp with time zone,
    CONSTRAINT jobs_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
)
WITH (autovacuum_analyze_scale_factor='0.02', autovacuum_vacuum_cost_delay='1', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_vacuum_scale_factor='0.01', fillfactor='85');

CREATE FUNCTION consumer.line_up(job public.jobs, kind consumer.job_types) RETURNS public.jobs
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
declare
  seconds double precision := coalesce(kind.cost * consumer.asset_count(job.metadata, kind) / kind.default_count, 1)
    / coalesce((consumer.limits_of(job.user_id)).weight, 1);
  clock timestamptz := (select max(c.tag) from consumer.clocks c where c.engine = job.engine);
  head record;
begin
  select j.queue_at, j.attempts into head from public.jobs j
  where j.job_type = job.job_type and j.priority = job.priority and j.status = 'queued' and j.queue_at is not null and j.engine is not null
  order by j.queue_at, j.created_at
  limit 1;
  if not found and not exists (
    select from consumer.job_types t
    where t.engine = job.engine and exists (
      select from public.jobs j where j.job_type = t.job_type and j.status = 'queued' and j.queue_at is not null and j.engine is not null
    )
  ) then
    -- Nobody waits for this engine: it comes in where the others are, or it would go before them for as long as it rested.
    select greatest(clock, max(c.tag)) into clock from consumer.clocks c;
    begin
      update consumer.clocks c set tag = clock
      where (c.engine, c.slot) in (
        select o.engine, o.slot from consumer.clocks o where o.engine = job.engine and o.slot = -1 and o.tag < clock
        for update skip locked
      );
    exception
      -- In a transaction that sees the past, somebody else has set the clock meanwhile.
      when serialization_failure then null;
    end;
  elsif head.attempts = 0 then
    -- A line that is served more slowly than others of its engine: nobody new waits behind all that stands there.
    clock := least(clock, head.queue_at);
  end if;
  job.start_tag := coalesce(greatest(
    (select max(j.finish_tag) from public.jobs j where j.user_id = job.user_id and j.engine = job.engine and j.finish_tag is not null),
    (select t.tag from consumer.user_tags t where t.user_id = job.user_id and t.engine = job.engine),
    clock
  ), now());
  job.finish_tag := job.start_tag + make_interval(secs => seconds);
  job.queue_at := job.start_tag;
  return job;
end
$$;

CREATE FUNCTION consumer.link_late_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  update public.images i set job_id = new.id, image_index = coalesce(i.image_index, 0)
  where new.image_id is distinct from old.image_id and i.id = new.image_id and i.user_id = new.user_id
    and i.job_id is null and i.status is distinct from 'completed' and not exists (
      select from public.images taken
      where taken.job_id = new.id and taken.image_index = coalesce(i.image_index, 0) and not taken.managed
    );
  update public.videos v set job_id = new.id, image_index = coalesce(v.image_index, 0)
  where new.video_id is distinct from old.video_id and v.id = new.video_id and v.user_id = new.user_id
    and v.job_id is null and v.status is distinct from 'completed' and not exists (
      select from public.videos taken
      where taken.job_id = new.id and taken.image_index = coalesce(v.image_index, 0) and not taken.managed
    );
  return null;
end
$$;

CREATE FUNCTION consumer.link_named_rows(job public.jobs, kind consumer.job_types) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  named record;
begin
  if kind.medium = 'video' then
    update public.videos v set job_id = job.id, image_index = coalesce(v.image_index, 0)
    where v.id = job.video_id and v.user_id = job.user_id and v.job_id is null and v.status is distinct from 'completed';
    return;
  end if;
  for named in
    select id, min(place) as place
    from (
      select job.image_id as id, 0 as place
      union all
      select case when value ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' then value::uuid end, ordinality::integer - 1
      from jsonb_array_elements_text(
        case when jsonb_typeof(job.metadata -> 'image_ids') = 'array' then job.metadata -> 'image_ids' else '[]' end
      ) with ordinality
      where ordinality <= 100
    ) as names
    where id is not null and place < consumer.asset_count(job.metadata, kind)
    group by id
    order by place
  loop
    update public.images i set job_id = job.id, image_index = coalesce(i.image_index, named.place)
    where i.id = named.id and i.user_id = job.user_id and i.job_id is null and i.status is distinct from 'completed'
      and not exists (
        select from public.images taken
        where taken.job_id = job.id and taken.image_index = coalesce(i.image_index, named.place)
      );
  end loop;
end
$_$;

CREATE FUNCTION consumer.lock_own_job(wanted uuid) RETURNS public.jobs
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
declare
  job public.jobs;
begin
  select * into job from public.jobs j
  where j.id = wanted and j.engine is not null and (not consumer.api_role() or j.user_id = auth.uid())
  for update;
  if not found then
    raise exception 'There is no such job of yours.' using errcode = 'PT404';
  end if;
  return job;
end
$$;

CREATE FUNCTION consumer.make_room() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  known boolean;
  owner uuid;
  state text;
  ours record;
begin
  if tg_op = 'UPDATE' then
    known := new.job_id is not distinct from old.job_id and new.image_index is not distinct from old.image_index;
  else
    -- An upsert of a row that is there already: if it goes on, it comes here again as an UPDATE.
    execute format('select exists (select from %s a where a.id = $1)', tg_relid::regclass) into known using new.id;
  end if;
  if known then
    return new;
  end if;
  -- Job before image, as every write of the worker does, so that the two can wait for each other but never deadlock.
  select j.user_id, j.status into owner, state from public.jobs j where j.id = new.job_id and j.engine is not null for no key update;
  if not found then
    return new;
  end if;
  if owner is distinct from new.user_id and consumer.api_role() then
    raise exception 'job_id must name a job of your own.' using errcode = '42501';
  end if;
  -- A claim gives a row without an index one; to a row that comes after it nobody else would.
  if new.image_index is null and state in ('processing', 'completed') then
    execute format(
      'select a.image_index from %s a where a.job_id = $1 and a.user_id = $2 and a.managed and a.image_index >= 0
       order by a.status is not distinct from ''completed'', a.image_index limit 1',
      tg_relid::regclass
    ) into new.image_index using new.job_id, new.user_id;
  end if;
  if new.image_index is null or new.image_index < 0 then
    return new;
  end if;
  execute format(
    'select * from %s a where a.job_id = $1 and a.image_index = $2 and a.user_id = $3 and a.managed and a.id <> $4 for update',
    tg_relid::regclass
  ) into ours using new.job_id, new.image_index, new.user_id, new.id;
  if ours.id is null then
    return new;
  end if;
  if ours.status <> 'queued' then
    new.status := ours.status;
  end if;
  new.thumbnail_url := coalesce(ours.thumbnail_url, new.thumbnail_url);
  new.metadata := coalesce(new.metadata, '{}') || coalesce(ours.metadata, '{}');
  new.format := coalesce(ours.format, new.format);
  new.seed := coalesce(ours.seed, new.seed);
  new.file_size := coalesce(ours.file_size, new.file_size);
  new.progress := coalesce(ours.progress, new.progress);
  new.error_message := coalesce(ours.error_message, new.error_message);
  new.updated_at := now();
  if tg_table_name = 'images' then
    new.image_url := coalesce(ours.image_url, new.image_url);
  else
    new.video_url := coalesce(ours.video_url, new.video_url);
    new.duration := coalesce(ours.duration, new.duration);
    new.resolution := coalesce(ours.resolution, new.resolution);
    new.completed_at := coalesce(ours.completed_at, new.completed_at);
  end if;
  -- Ours steps out of the key, and stays until jobs.image_id, whose deletion may cascade, points to the new row.
  execute format('update %s set image_index = -1 - image_index where id = $1', tg_relid::regclass) using ours.id;
  return new;
end
$_$;

CREATE FUNCTION consumer.one_by_one(sender uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  patience text := current_setting('lock_timeout');
begin
  if coalesce(current_setting('consumer.sender', true), '') <> '' then
    return;
  end if;
  perform set_config('consumer.sender', sender::text, true);
  if pg_try_advisory_xact_lock(7120, hashtext(sender::text)) then
    return;
  end if;
  begin
    perform set_config('lock_timeout', case when consumer.api_role() then '3s' else '800ms' end, true);
    perform pg_advisory_xact_lock(7120, hashtext(sender::text));
    perform set_config('lock_timeout', patience, true);
  exception
    when lock_not_available then
      if consumer.api_role() then
        raise exception 'You send too many jobs at the same time; send this one again.' using errcode = 'PT429';
      end if;
  end;
end
$$;

CREATE FUNCTION consumer.pending_images(wanted uuid[]) RETURNS TABLE(job_id uuid, pending integer[])
    LANGUAGE plpgsql ROWS 100
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  -- Of none, so that a claim of videos waits for nobody who has the images locked.
  if wanted = '{}' then
    return;
  end if;
  return query
  select i.job_id, array_agg(case when i.managed then i.image_index end::integer order by i.image_index)
  from public.images i
  where i.job_id = any (pending_images.wanted) and i.status is distinct from 'completed'
  group by i.job_id;
end
$$;

CREATE FUNCTION consumer.pending_images(wanted uuid) RETURNS integer[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  -- NULL stands for a row of the application's, which the worker may have to take up first.
  return array(
    select case when i.managed then i.image_index end::integer
    from public.images i
    where i.job_id = pending_images.wanted and i.status is distinct from 'completed'
    order by i.image_index
  );
end
$$;

CREATE FUNCTION consumer.put_in_line() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  kind consumer.job_types;
begin
  select * into kind from consumer.job_types t where t.job_type = new.job_type;
  if not found then
    new.engine := null;
    new.queue_at := null;
    new.worker_id := null;
    new.claim_id := null;
    return new;
  end if;
  if length(new.idempotency_key) > 255 then
    raise exception 'idempotency_key must be at most 255 characters.' using errcode = '22023';
  end if;
  if consumer.api_role() then
    new.user_id := coalesce(new.user_id, auth.uid());
    new.created_at := now();
    perform consumer.refuse_unless_plain(new);
  end if;
  new.status := coalesce(new.status, 'queued');
  if new.status = 'processing' then
    raise exception 'status must not be processing: only a claim makes it so.' using errcode = '22023';
  end if;
  new.metadata := coalesce(new.metadata, '{}');
  if jsonb_typeof(new.metadata) <> 'object' then
    raise exception 'metadata must be a JSON object.' using errcode = '22023';
  end if;
  new.engine := kind.engine;
  new.priority := coalesce(new.priority, 0);
  new.queue_at := null;
  if new.status = 'queued' then
    perform consumer.one_by_one(new.user_id);
    -- Whose time has not come, or who is held, gets its place when it comes in line.
    new.start_tag := null;
    new.finish_tag := null;
    if new.available_at <= now() then
      new.available_at := null;
    end if;
    if new.available_at is null and not consumer.is_limited(new.user_id) then
      new := consumer.line_up(new, kind);
    end if;
  end if;
  return new;
end
$$;

CREATE FUNCTION consumer.queue_position(wanted uuid) RETURNS integer
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
declare
  job public.jobs;
  place timestamptz;
  ahead bigint;
begin
  select * into job from public.jobs j
  where j.id = wanted and j.engine is not null and (not consumer.api_role() or j.user_id = auth.uid());
  if not found then
    raise exception 'There is no such job of yours.' using errcode = 'PT404';
  end if;
  if job.status <> 'queued' then
    return case when job.status = 'processing' then 0 end;
  end if;
  -- Whoever is not in line yet would come in at the clock.
  place := coalesce(job.queue_at, job.start_tag, greatest(
    (select max(j.finish_tag) from public.jobs j where j.user_id = job.user_id and j.engine = job.engine and j.finish_tag is not null),
    (select max(c.tag) from consumer.clocks c where c.engine = job.engine)
  ));
  select count(*) into ahead from (
    select found.* from consumer.job_types t
    cross join lateral (
      (select from public.jobs j
      where j.job_type = t.job_type and j.status = 'queued' and j.queue_at is not null and j.engine is not null and j.priority = job.priority
        and (j.queue_at, j.created_at) < (place, job.created_at)
      limit 1000)
      union all
      (select from public.jobs j
      where j.job_type = t.job_type and j.status = 'queued' and j.queue_at is not null and j.engine is not null and j.priority > job.priority
      limit 1000)
    ) as found
    where t.engine = job.engine
    limit 999
  ) as nearest;
  return 1 + ahead;
end
$$;

CREATE FUNCTION consumer.refuse_if_too_many(sender uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
#variable_conflict use_variable
declare
  most integer := (consumer.limits_of(sender)).max_queued;
  queued bigint;
begin
  if most is null then
    return;
  end if;
  select count(*) into queued from (
    select from public.jobs j where j.user_id = sender and j.status = 'queued' and j.engine is not null limit most + 1::bigint
  ) as found;
  if most = 0 then
    raise exception 'You may queue no jobs at present.' using errcode = 'PT429';
  elsif queued > most then
    -- PostgREST answers with this HTTP status.
    raise exception 'At most % of your jobs may be queued at a time; send this one again when one has started.', most
      using errcode = 'PT429';
  end if;
end
$$;

CREATE FUNCTION consumer.refuse_truncate() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception '% must not be truncated; delete your own rows.', tg_table_name using errcode = '42501';
end
$$;

CREATE FUNCTION consumer.refuse_unless_plain(job public.jobs) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  field text;
begin
  if job.user_id is distinct from auth.uid() then
    raise exception 'user_id must be your own id.' using errcode = '42501';
  end if;
  -- 3 is the column default of max_attempts on tables that existed before us, and so is no offence.
  field := case
    when coalesce(job.status, 'queued') <> 'queued' then 'status'
    when coalesce(job.attempts, 0) <> 0 then 'attempts'
    when job.max_attempts is not null and job.max_attempts is distinct from 3 then 'max_attempts'
    when coalesce(job.priority, 0) <> 0 then 'priority'
    when job.available_at is not null then 'available_at'
    when job.start_tag is not null then 'start_tag'
    when job.finish_tag is not null then 'finish_tag' when job.queue_at is not null then 'queue_at'
    when job.engine is not null then 'engine'
    when job.worker_id is not null then 'worker_id'
    when job.claim_id is not null then 'claim_id'
    when job.started_at is not null then 'started_at'
    when job.completed_at is not null then 'completed_at'
    when job.error_message is not null then 'error_message'
    when coalesce(job.errors, '[]') <> '[]' then 'errors'
  end;
  if field is not null then
    raise exception '% is set by the queue; leave it out.', field using errcode = '42501';
  end if;
  field := case
    when octet_length(job.metadata::text) > 65536 then 'metadata'
    when octet_length(job.original_prompt) > 65536 then 'original_prompt'
    when octet_length(job.enhanced_prompt) > 65536 then 'enhanced_prompt'
    when octet_length(job.idempotency_key) > 65536 then 'idempotency_key'
  end;
  if field is not null then
    raise exception '% must be at most 64 KiB.', field using errcode = '22023';
  end if;
  if job.image_id is not null and not exists (select from public.images i where i.id = job.image_id and i.user_id = job.user_id) then
    raise exception 'image_id must name an image of your own.' using errcode = '42501';
  end if;
  if job.video_id is not null and not exists (select from public.videos v where v.id = job.video_id and v.user_id = job.user_id) then
    raise exception 'video_id must name a video of your own.' using errcode = '42501';
  end if;
end
$$;

CREATE FUNCTION consumer.refuse_while_rows(revision text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  relation text;
  filled boolean;
begin
  for relation in
    -- CASE, because the names of columns are there as well, and to_regclass would take one for a table elsewhere.
    select object from consumer.created
    where case when object in ('public.jobs', 'public.images', 'public.videos') then to_regclass(object) is not null end
    order by object desc
  loop
    execute format('select exists (select from %s)', relation) into filled;
    if filled then
      raise exception 'The table % holds rows; move or delete them before going below revision %.', relation, revision;
    end if;
  end loop;
end
$$;

CREATE FUNCTION consumer.replace_ours() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if tg_table_name = 'images' then
    update public.jobs j set image_id = new.id
    from public.images ours
    where j.id = new.job_id and j.image_id = ours.id
      and ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
    delete from public.images ours
    where ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
  else
    update public.jobs j set video_id = new.id
    from public.videos ours
    where j.id = new.job_id and j.video_id = ours.id
      and ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
    delete from public.videos ours
    where ours.job_id = new.job_id and ours.image_index = -1 - new.image_index and ours.managed;
  end if;
  return null;
end
$$;

CREATE FUNCTION consumer.retry_job(wanted uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  job public.jobs := consumer.lock_own_job(wanted);
  kind consumer.job_types;
begin
  if job.status not in ('failed', 'cancelled') then
    return job.status;
  end if;
  select * into kind from consumer.job_types t where t.job_type = job.job_type;
  perform consumer.one_by_one(job.user_id);
  perform consumer.charge(job.user_id, job.engine, job.finish_tag);
  job.queue_at := null;
  job.start_tag := null;
  job.finish_tag := null;
  if not consumer.is_limited(job.user_id) then
    job := consumer.line_up(job, kind);
  end if;
  update public.jobs j
  set status = 'queued', attempts = 0, start_tag = job.start_tag, finish_tag = job.finish_tag, queue_at = job.queue_at, available_at = null, worker_id = null,
    error_message = null, started_at = null, completed_at = null,
    metadata = case
      when jsonb_typeof(j.metadata) = 'object' then j.metadata - array['error_type', 'job_type', 'timestamp', 'traceback', 'progress']
      else '{}'
    end
  where j.id = job.id;
  update public.images i set status = 'queued', progress = null, error_message = null, updated_at = now()
  where i.job_id = job.id and i.image_index is not null and i.status is distinct from 'completed';
  update public.videos v set status = 'queued', progress = null, error_message = null, updated_at = now()
  where v.job_id = job.id and v.image_index is not null and v.status is distinct from 'completed';
  perform consumer.refuse_if_too_many(job.user_id);
  perform consumer.admit(array[job.user_id]);
  perform pg_notify('consumer_jobs', '');
  return 'queued';
end
$$;

CREATE FUNCTION consumer.start_clock() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  insert into consumer.clocks (engine, slot, tag)
  select new.engine, slot, coalesce((select max(c.tag) from consumer.clocks c), now()) from generate_series(-1, 15) as slot
  on conflict do nothing;
  return null;
end
$$;

CREATE FUNCTION consumer.touch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  -- On INSERT old is NULL, which greatest passes over. A restore may have left the sequence behind the rows.
  new.version := greatest(nextval('consumer.versions'), old.version + 1);
  new.updated_at := now();
  return new;
end
$$;

CREATE FUNCTION consumer.unreferenced(relation regclass) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select coalesce(string_agg(format('not exists (select from %s other where %s)', c.conrelid::regclass, (
    select string_agg(format('other.%I = a.%I', theirs.attname, ours.attname), ' and ')
    from unnest(c.conkey, c.confkey) as key (theirs, ours)
    join pg_attribute theirs on theirs.attrelid = c.conrelid and theirs.attnum = key.theirs
    join pg_attribute ours on ours.attrelid = c.confrelid and ours.attnum = key.ours
  )), ' and '), 'true')
  from pg_constraint c
  where c.contype = 'f' and c.confrelid = relation and c.conparentid = 0
$$;

CREATE FUNCTION consumer.wake_idle_worker() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  -- Job types that this transaction has dealt with: the second to the thousandth row of a batch cost next to nothing.
  settled text := coalesce(current_setting('consumer.settled', true), '');
begin
  if position(',' || new.job_type || ',' in settled) > 0 then
    return null;
  end if;
  perform set_config('consumer.settled', settled || ',' || new.job_type || ',', true);
  if exists (
    select from consumer.workers w
    where w.idle_since is not null and (new.job_type = any (w.job_types) or (w.job_types = '{}' and new.engine = any (w.engines)))
      and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
  ) then
    perform pg_notify('consumer_jobs', '');
  end if;
  return null;
end
$$;

CREATE FUNCTION public.cancel_job(job_id uuid) RETURNS text
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN consumer.cancel_job(job_id);

CREATE FUNCTION public.queue_position(job_id uuid) RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN consumer.queue_position(job_id);

COMMENT ON FUNCTION public.queue_position(job_id uuid) IS 'The place of a job of yours in line: 1 is next, 0 is running, NULL is over; 1000 stands for 1000 or more.';

CREATE FUNCTION public.retry_job(job_id uuid) RETURNS text
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN consumer.retry_job(job_id);

CREATE TABLE consumer.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE SEQUENCE consumer.claim_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE consumer.clocks (
    engine text NOT NULL,
    slot bigint NOT NULL,
    tag timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='100', fillfactor='50');

COMMENT ON TABLE consumer.clocks IS 'Each engine''s clock: the latest start_tag claimed from it. Several slots, so that claims do not wait for each other; -1 is for inserts.';

CREATE TABLE consumer.created (
    object text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE consumer.created IS 'What the migrations created, and so may drop: tables, columns as table.column, functions, publications.';

CREATE TABLE consumer.orphans (
    table_name text NOT NULL,
    id uuid NOT NULL,
    "row" jsonb NOT NULL,
    reason text NOT NULL,
    moved_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE consumer.orphans IS 'Placeholders without a job that would finish them: each column as the text of its value.';

CREATE TABLE consumer.replaced (
    relation text NOT NULL,
    name text NOT NULL,
    definition text NOT NULL,
    words text[] NOT NULL
);

COMMENT ON TABLE consumer.replaced IS 'CHECKs of the application that lacked a status, as they were, and the words that ours add.';

ALTER TABLE consumer.user_limits ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME consumer.user_limits_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE consumer.user_tags (
    user_id uuid NOT NULL,
    engine text NOT NULL,
    tag timestamp with time zone NOT NULL
);

COMMENT ON TABLE consumer.user_tags IS 'The last finish_tag of jobs that their user deleted or sent again: the service was given all the same.';

CREATE SEQUENCE consumer.versions
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE consumer.workers (
    id uuid NOT NULL,
    name text NOT NULL,
    engines text[] NOT NULL,
    lease_seconds double precision NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    beats bigint DEFAULT 0 NOT NULL,
    idle_since timestamp with time zone,
    job_types text[] DEFAULT '{}'::text[] NOT NULL,
    lock_key integer
)
WITH (autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='100', fillfactor='50');

COMMENT ON TABLE consumer.workers IS 'One row per live worker process; idle_since is NULL while it has work in hand.';

COMMENT ON COLUMN consumer.workers.job_types IS 'What it serves; of an engine it may serve some types alone.';

COMMENT ON COLUMN consumer.workers.lock_key IS 'The advisory lock (1668247155, lock_key) of its listening connection; NULL: it holds none, and only the lease counts.';

CREATE TABLE public.images (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    job_id uuid,
    title text,
    prompt text DEFAULT ''::text NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    image_url text,
    thumbnail_url text,
    image_urls jsonb,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    format text DEFAULT 'png'::text,
    seed bigint,
    file_size bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    image_index integer,
    managed boolean DEFAULT false NOT NULL,
    progress smallint,
    error_message text,
    version bigint DEFAULT 0 NOT NULL,
    CONSTRAINT images_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
)
WITH (autovacuum_analyze_scale_factor='0.02', autovacuum_vacuum_cost_delay='1', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_vacuum_scale_factor='0.01', fillfactor='85');

CREATE TABLE public.videos (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    title text,
    status text DEFAULT 'queued'::text NOT NULL,
    video_url text,
    thumbnail_url text,
    duration integer,
    resolution text,
    format text DEFAULT 'mp4'::text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    completed_at timestamp with time zone,
    job_id uuid,
    image_index integer,
    managed boolean DEFAULT false NOT NULL,
    progress smallint,
    seed bigint,
    file_size bigint,
    version bigint DEFAULT 0 NOT NULL,
    CONSTRAINT videos_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
)
WITH (autovacuum_analyze_scale_factor='0.02', autovacuum_vacuum_cost_delay='1', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_vacuum_scale_factor='0.01', fillfactor='85');

ALTER TABLE ONLY consumer.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY consumer.clocks
    ADD CONSTRAINT clocks_pkey PRIMARY KEY (engine, slot);

ALTER TABLE ONLY consumer.created
    ADD CONSTRAINT created_pkey PRIMARY KEY (object);

ALTER TABLE ONLY consumer.job_types
    ADD CONSTRAINT job_types_pkey PRIMARY KEY (job_type);

ALTER TABLE ONLY consumer.orphans
    ADD CONSTRAINT orphans_pkey PRIMARY KEY (table_name, id);

ALTER TABLE ONLY consumer.replaced
    ADD CONSTRAINT replaced_pkey PRIMARY KEY (relation, name);

ALTER TABLE ONLY consumer.user_limits
    ADD CONSTRAINT user_limits_pkey PRIMARY KEY (id);

ALTER TABLE ONLY consumer.user_limits
    ADD CONSTRAINT user_limits_user_id_key UNIQUE NULLS NOT DISTINCT (user_id);

ALTER TABLE ONLY consumer.user_tags
    ADD CONSTRAINT user_tags_pkey PRIMARY KEY (user_id, engine);

ALTER TABLE ONLY consumer.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.videos
    ADD CONSTRAINT videos_pkey PRIMARY KEY (id);

CREATE UNIQUE INDEX images_job_id_image_index_key ON public.images USING btree (job_id, image_index);

CREATE INDEX images_user_id_created_at_idx ON public.images USING btree (user_id, created_at);

CREATE INDEX jobs_due_idx ON public.jobs USING btree (available_at) WHERE ((status = 'queued'::text) AND (queue_at IS NULL) AND (available_at IS NOT NULL) AND (engine IS NOT NULL));

CREATE INDEX jobs_held_idx ON public.jobs USING btree (user_id, created_at) WHERE ((status = 'queued'::text) AND (queue_at IS NULL) AND (available_at IS NULL) AND (engine IS NOT NULL));

CREATE UNIQUE INDEX jobs_idempotency_key_idx ON public.jobs USING btree (user_id, idempotency_key) WHERE ((idempotency_key IS NOT NULL) AND (engine IS NOT NULL));

CREATE INDEX jobs_image_id_idx ON public.jobs USING btree (image_id) WHERE (image_id IS NOT NULL);

CREATE INDEX jobs_line_idx ON public.jobs USING btree (job_type, priority, queue_at, created_at) WHERE ((status = 'queued'::text) AND (queue_at IS NOT NULL) AND (engine IS NOT NULL));

CREATE INDEX jobs_user_id_created_at_idx ON public.jobs USING btree (user_id, created_at);

CREATE INDEX jobs_user_queue_idx ON public.jobs USING btree (user_id, queue_at) WHERE ((status = 'queued'::text) AND (engine IS NOT NULL));

CREATE INDEX jobs_user_tag_idx ON public.jobs USING btree (user_id, engine, finish_tag) WHERE (finish_tag IS NOT NULL);

CREATE INDEX jobs_video_id_idx ON public.jobs USING btree (video_id) WHERE (video_id IS NOT NULL);

CREATE INDEX jobs_worker_idx ON public.jobs USING btree (worker_id) WHERE (status = 'processing'::text);

CREATE UNIQUE INDEX videos_job_id_image_index_key ON public.videos USING btree (job_id, image_index);

CREATE INDEX videos_user_id_created_at_idx ON public.videos USING btree (user_id, created_at);

CREATE TRIGGER consumer_apply_limits AFTER INSERT OR DELETE OR UPDATE ON consumer.user_limits FOR EACH ROW EXECUTE FUNCTION consumer.apply_limits();

CREATE TRIGGER consumer_start_clock AFTER INSERT OR UPDATE OF engine ON consumer.job_types FOR EACH ROW EXECUTE FUNCTION consumer.start_clock();

CREATE TRIGGER consumer_create_rows AFTER INSERT ON public.jobs REFERENCING NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION consumer.create_rows();

CREATE TRIGGER consumer_guard BEFORE INSERT OR DELETE OR UPDATE ON public.images FOR EACH ROW WHEN ((CURRENT_USER = ANY (ARRAY['anon'::name, 'authenticated'::name]))) EXECUTE FUNCTION consumer.guard_asset();

CREATE TRIGGER consumer_guard BEFORE DELETE OR UPDATE ON public.jobs FOR EACH ROW WHEN ((CURRENT_USER = ANY (ARRAY['anon'::name, 'authenticated'::name]))) EXECUTE FUNCTION consumer.guard_job();

CREATE TRIGGER consumer_guard BEFORE INSERT OR DELETE OR UPDATE ON public.videos FOR EACH ROW WHEN ((CURRENT_USER = ANY (ARRAY['anon'::name, 'authenticated'::name]))) EXECUTE FUNCTION consumer.guard_asset();

CREATE TRIGGER consumer_keep_in_line BEFORE UPDATE OF status, engine, available_at ON public.jobs FOR EACH ROW WHEN (((new.engine IS NOT NULL) AND (new.status = 'queued'::text) AND (new.queue_at IS NULL) AND ((old.engine IS NULL) OR ((old.status IS DISTINCT FROM 'queued'::text) AND (new.available_at IS NULL)) OR ((old.available_at IS NOT NULL) AND (new.available_at IS NULL) AND (new.start_tag IS NULL))))) EXECUTE FUNCTION consumer.keep_in_line();

CREATE TRIGGER consumer_keep_priority BEFORE UPDATE OF priority ON public.jobs FOR EACH ROW WHEN (((new.engine IS NOT NULL) AND (new.priority IS NULL))) EXECUTE FUNCTION consumer.keep_priority();

CREATE TRIGGER consumer_keep_tag AFTER DELETE ON public.jobs FOR EACH ROW WHEN (((old.engine IS NOT NULL) AND (old.claim_id IS NOT NULL))) EXECUTE FUNCTION consumer.keep_tag();

CREATE TRIGGER consumer_link_late_row AFTER UPDATE OF image_id, video_id ON public.jobs FOR EACH ROW WHEN (((new.engine IS NOT NULL) AND (NOT (new.status IS DISTINCT FROM old.status)) AND ((new.image_id IS DISTINCT FROM old.image_id) OR (new.video_id IS DISTINCT FROM old.video_id)))) EXECUTE FUNCTION consumer.link_late_row();

CREATE TRIGGER consumer_make_room BEFORE INSERT OR UPDATE OF job_id, image_index ON public.images FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (NOT new.managed))) EXECUTE FUNCTION consumer.make_room();

CREATE TRIGGER consumer_make_room BEFORE INSERT OR UPDATE OF job_id, image_index ON public.videos FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (NOT new.managed))) EXECUTE FUNCTION consumer.make_room();

CREATE TRIGGER consumer_put_in_line BEFORE INSERT ON public.jobs FOR EACH ROW EXECUTE FUNCTION consumer.put_in_line();

CREATE TRIGGER consumer_refuse_truncate BEFORE TRUNCATE ON public.images FOR EACH STATEMENT WHEN ((CURRENT_USER = ANY (ARRAY['anon'::name, 'authenticated'::name]))) EXECUTE FUNCTION consumer.refuse_truncate();

CREATE TRIGGER consumer_refuse_truncate BEFORE TRUNCATE ON public.jobs FOR EACH STATEMENT WHEN ((CURRENT_USER = ANY (ARRAY['anon'::name, 'authenticated'::name]))) EXECUTE FUNCTION consumer.refuse_truncate();

CREATE TRIGGER consumer_refuse_truncate BEFORE TRUNCATE ON public.videos FOR EACH STATEMENT WHEN ((CURRENT_USER = ANY (ARRAY['anon'::name, 'authenticated'::name]))) EXECUTE FUNCTION consumer.refuse_truncate();

CREATE TRIGGER consumer_replace_ours AFTER INSERT OR UPDATE OF job_id, image_index ON public.images FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (new.image_index >= 0) AND (NOT new.managed))) EXECUTE FUNCTION consumer.replace_ours();

CREATE TRIGGER consumer_replace_ours AFTER INSERT OR UPDATE OF job_id, image_index ON public.videos FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (new.image_index >= 0) AND (NOT new.managed))) EXECUTE FUNCTION consumer.replace_ours();

CREATE TRIGGER consumer_touch BEFORE INSERT OR UPDATE ON public.images FOR EACH ROW EXECUTE FUNCTION consumer.touch();

CREATE TRIGGER consumer_touch BEFORE INSERT OR UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION consumer.touch();

CREATE TRIGGER consumer_touch BEFORE INSERT OR UPDATE ON public.videos FOR EACH ROW EXECUTE FUNCTION consumer.touch();

CREATE CONSTRAINT TRIGGER consumer_wake_idle_worker AFTER INSERT ON public.jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.engine IS NOT NULL) AND (new.status = 'queued'::text))) EXECUTE FUNCTION consumer.wake_idle_worker();

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_image_id_fkey FOREIGN KEY (image_id) REFERENCES public.images(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_video_id_fkey FOREIGN KEY (video_id) REFERENCES public.videos(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.videos
    ADD CONSTRAINT videos_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.videos
    ADD CONSTRAINT videos_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE;

ALTER TABLE consumer.clocks ENABLE ROW LEVEL SECURITY;

CREATE POLICY consumer_nobody ON consumer.created USING (false);

CREATE POLICY consumer_nobody ON consumer.orphans USING (false);

CREATE POLICY consumer_nobody ON consumer.replaced USING (false);

CREATE POLICY consumer_nobody ON consumer.user_tags USING (false);

CREATE POLICY consumer_worker ON consumer.clocks TO consumer_worker USING (true) WITH CHECK (true);

CREATE POLICY consumer_worker ON consumer.job_types TO consumer_worker USING (true) WITH CHECK (true);

CREATE POLICY consumer_worker ON consumer.user_limits TO consumer_worker USING (true);

CREATE POLICY consumer_worker ON consumer.workers TO consumer_worker USING (true) WITH CHECK (true);

ALTER TABLE consumer.created ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.job_types ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.orphans ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.replaced ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.user_limits ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.user_tags ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.workers ENABLE ROW LEVEL SECURITY;

CREATE POLICY consumer_guard_delete ON public.images AS RESTRICTIVE FOR DELETE TO anon, authenticated USING (((NOT consumer.is_ours(job_id)) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_delete ON public.jobs AS RESTRICTIVE FOR DELETE TO anon, authenticated USING (((engine IS NULL) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_delete ON public.videos AS RESTRICTIVE FOR DELETE TO anon, authenticated USING (((NOT consumer.is_ours(job_id)) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_insert ON public.images AS RESTRICTIVE FOR INSERT TO anon, authenticated WITH CHECK (((NOT consumer.is_ours(job_id)) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_insert ON public.jobs AS RESTRICTIVE FOR INSERT TO anon, authenticated WITH CHECK (((engine IS NULL) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_insert ON public.videos AS RESTRICTIVE FOR INSERT TO anon, authenticated WITH CHECK (((NOT consumer.is_ours(job_id)) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_update ON public.images AS RESTRICTIVE FOR UPDATE TO anon, authenticated USING (((NOT consumer.is_ours(job_id)) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_update ON public.jobs AS RESTRICTIVE FOR UPDATE TO anon, authenticated USING (((engine IS NULL) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_guard_update ON public.videos AS RESTRICTIVE FOR UPDATE TO anon, authenticated USING (((NOT consumer.is_ours(job_id)) OR (user_id = ( SELECT auth.uid() AS uid))));

CREATE POLICY consumer_insert_own ON public.jobs FOR INSERT TO authenticated WITH CHECK ((user_id = ( SELECT auth.uid() AS uid)));

CREATE POLICY consumer_read_own ON public.images FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));

CREATE POLICY consumer_read_own ON public.jobs FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));

CREATE POLICY consumer_read_own ON public.videos FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));

CREATE POLICY consumer_worker ON public.images TO consumer_worker USING (true) WITH CHECK (true);

CREATE POLICY consumer_worker ON public.jobs TO consumer_worker USING (true) WITH CHECK (true);

CREATE POLICY consumer_worker ON public.videos TO consumer_worker USING (true) WITH CHECK (true);

ALTER TABLE public.images ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.jobs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.videos ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA consumer TO consumer_worker;

REVOKE ALL ON FUNCTION consumer.add_column(relation text, name text, definition text) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.admit(users uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION consumer.admit(users uuid[]) TO consumer_worker;

REVOKE ALL ON FUNCTION consumer.api_role() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.apply_limits() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.as_texts(relation regclass) FROM PUBLIC;

GRANT SELECT ON TABLE consumer.job_types TO consumer_worker;

REVOKE ALL ON FUNCTION consumer.asset_count(metadata jsonb, kind consumer.job_types) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.cancel_job(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION consumer.cancel_job(wanted uuid) TO authenticated;
GRANT ALL ON FUNCTION consumer.cancel_job(wanted uuid) TO service_role;

REVOKE ALL ON FUNCTION consumer.changed(before jsonb, after jsonb, fields text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.charge(sender uuid, wanted text, served timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.create_rows() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.drop_column(relation text, name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.fill_workspace_assets() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.guard_asset() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.guard_job() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.is_limited(wanted uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.is_ours(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION consumer.is_ours(job_id uuid) TO anon;
GRANT ALL ON FUNCTION consumer.is_ours(job_id uuid) TO authenticated;

REVOKE ALL ON FUNCTION consumer.keep_in_line() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.keep_priority() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.keep_tag() FROM PUBLIC;

GRANT SELECT ON TABLE consumer.user_limits TO consumer_worker;

REVOKE ALL ON FUNCTION consumer.limits_of(wanted uuid) FROM PUBLIC;

GRANT SELECT,INSERT ON TABLE public.jobs TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.jobs TO service_role;
GRANT SELECT ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(status) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(enhanced_prompt) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(metadata) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(error_message) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(attempts) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(started_at) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(completed_at) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(image_id) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(video_id) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(available_at) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(queue_at) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(worker_id) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(claim_id) ON TABLE public.jobs TO consumer_worker;

GRANT UPDATE(errors) ON TABLE public.jobs TO consumer_worker;

REVOKE ALL ON FUNCTION consumer.line_up(job public.jobs, kind consumer.job_types) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.link_late_row() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.link_named_rows(job public.jobs, kind consumer.job_types) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.lock_own_job(wanted uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.make_room() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.one_by_one(sender uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.pending_images(wanted uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION consumer.pending_images(wanted uuid[]) TO consumer_worker;

REVOKE ALL ON FUNCTION consumer.pending_images(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION consumer.pending_images(wanted uuid) TO consumer_worker;

REVOKE ALL ON FUNCTION consumer.put_in_line() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.queue_position(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION consumer.queue_position(wanted uuid) TO authenticated;
GRANT ALL ON FUNCTION consumer.queue_position(wanted uuid) TO service_role;

REVOKE ALL ON FUNCTION consumer.refuse_if_too_many(sender uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.refuse_truncate() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.refuse_unless_plain(job public.jobs) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.refuse_while_rows(revision text) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.replace_ours() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.retry_job(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION consumer.retry_job(wanted uuid) TO authenticated;
GRANT ALL ON FUNCTION consumer.retry_job(wanted uuid) TO service_role;

REVOKE ALL ON FUNCTION consumer.start_clock() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.touch() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.unreferenced(relation regclass) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.wake_idle_worker() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.cancel_job(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.cancel_job(job_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.cancel_job(job_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.queue_position(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.queue_position(job_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.queue_position(job_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.retry_job(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.retry_job(job_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.retry_job(job_id uuid) TO service_role;

GRANT SELECT ON TABLE consumer.alembic_version TO consumer_worker;

GRANT USAGE ON SEQUENCE consumer.claim_ids TO consumer_worker;

GRANT SELECT ON TABLE consumer.clocks TO consumer_worker;

GRANT UPDATE(tag) ON TABLE consumer.clocks TO consumer_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE consumer.workers TO consumer_worker;

GRANT SELECT ON TABLE public.images TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.images TO service_role;
GRANT SELECT ON TABLE public.images TO consumer_worker;

GRANT INSERT(user_id) ON TABLE public.images TO consumer_worker;

GRANT INSERT(job_id) ON TABLE public.images TO consumer_worker;

GRANT INSERT(prompt) ON TABLE public.images TO consumer_worker;

GRANT INSERT(status),UPDATE(status) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(image_url) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(thumbnail_url) ON TABLE public.images TO consumer_worker;

GRANT INSERT(metadata),UPDATE(metadata) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(format) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(seed) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(file_size) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(updated_at) ON TABLE public.images TO consumer_worker;

GRANT INSERT(image_index),UPDATE(image_index) ON TABLE public.images TO consumer_worker;

GRANT INSERT(managed) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(progress) ON TABLE public.images TO consumer_worker;

GRANT UPDATE(error_message) ON TABLE public.images TO consumer_worker;

GRANT SELECT ON TABLE public.videos TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.videos TO service_role;
GRANT SELECT ON TABLE public.videos TO consumer_worker;

GRANT INSERT(user_id) ON TABLE public.videos TO consumer_worker;

GRANT INSERT(status),UPDATE(status) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(video_url) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(thumbnail_url) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(duration) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(resolution) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(format) ON TABLE public.videos TO consumer_worker;

GRANT INSERT(metadata),UPDATE(metadata) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(error_message) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(updated_at) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(completed_at) ON TABLE public.videos TO consumer_worker;

GRANT INSERT(job_id),UPDATE(job_id) ON TABLE public.videos TO consumer_worker;

GRANT INSERT(image_index),UPDATE(image_index) ON TABLE public.videos TO consumer_worker;

GRANT INSERT(managed) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(progress) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(seed) ON TABLE public.videos TO consumer_worker;

GRANT UPDATE(file_size) ON TABLE public.videos TO consumer_worker;

ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.images;
ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.jobs;
ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.videos;
