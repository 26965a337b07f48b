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

CREATE FUNCTION consumer.api_role() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  -- The role that PostgREST set for this transaction; SECURITY DEFINER changes current_user but not this.
  select coalesce(current_setting('role', true), 'none') in ('anon', 'authenticated')
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

CREATE FUNCTION consumer.create_rows() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  job record;
begin
  for job in
    select j.id, t as kind
    from new_jobs j
    join consumer.job_types t using (job_type)
    where j.status = 'queued' and (j.image_id is not null or j.video_id is not null or j.metadata ? 'image_ids')
  loop
    perform consumer.link_named_rows(j, job.kind) from public.jobs j where j.id = job.id;
  end loop;

  insert into public.images (job_id, user_id, image_index, status, prompt, metadata, managed)
  select j.id, j.user_id, place, 'queued', coalesce(j.original_prompt, j.metadata ->> 'prompt', ''), '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, t) - 1) as place
  where t.medium = 'image' and j.status = 'queued'
  on conflict (job_id, image_index) do nothing;

  insert into public.videos (job_id, user_id, image_index, status, metadata, managed)
  select j.id, j.user_id, place, 'queued', '{}', true
  from new_jobs j
  join consumer.job_types t using (job_type)
  cross join lateral generate_series(0, consumer.asset_count(j.metadata, t) - 1) as place
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
    CONSTRAINT jobs_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);

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
declare
  job public.jobs;
begin
  select * into job from public.jobs j
  where j.id = wanted and j.engine is not null and (not consumer.api_role() or j.user_id = auth.uid())
  for update;
  if not found then
    raise exception 'There is no such job of yours.' using errcode = 'P0002';
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
  select j.user_id into owner from public.jobs j where j.id = new.job_id and j.engine is not null for no key update;
  if not found then
    return new;
  end if;
  if owner is distinct from new.user_id and consumer.api_role() then
    raise exception 'job_id must name a job of your own.' using errcode = '42501';
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
  new.start_tag := clock_timestamp();
  new.queue_at := case
    when new.status = 'queued' and (new.available_at is null or new.available_at <= now()) then new.start_tag
  end;
  return new;
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
    when job.queue_at is not null then 'queue_at'
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
    select object from consumer.created
    where object in ('public.jobs', 'public.images', 'public.videos') and to_regclass(object) is not null
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

CREATE FUNCTION consumer.wake_idle_worker() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  -- Engines that this transaction has dealt with: the second to the thousandth row of a batch cost next to nothing.
  settled text := coalesce(current_setting('consumer.settled', true), '');
begin
  if position(',' || new.engine || ',' in settled) > 0 then
    return null;
  end if;
  perform set_config('consumer.settled', settled || ',' || new.engine || ',', true);
  if exists (
    select from consumer.workers w
    where w.idle_since is not null and new.engine = any (w.engines)
      and w.heartbeat_at > now() - make_interval(secs => 2 * w.lease_seconds)
  ) then
    perform pg_notify('consumer_jobs', '');
  end if;
  return null;
end
$$;

CREATE FUNCTION public.cancel_job(job_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  job public.jobs := consumer.lock_own_job(cancel_job.job_id);
begin
  if job.status not in ('queued', 'processing') then
    return job.status;
  end if;
  update public.jobs j set status = 'cancelled', queue_at = null, available_at = null, worker_id = null, completed_at = now()
  where j.id = job.id;
  update public.images i set status = 'cancelled', updated_at = now()
  where i.job_id = job.id and coalesce(i.status, 'queued') not in ('completed', 'failed', 'cancelled');
  update public.videos v set status = 'cancelled', updated_at = now()
  where v.job_id = job.id and coalesce(v.status, 'queued') not in ('completed', 'failed', 'cancelled');
  if job.status = 'processing' then
    perform pg_notify('consumer_cancel', job.id::text);
  end if;
  return 'cancelled';
end
$$;

CREATE FUNCTION public.retry_job(job_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  job public.jobs := consumer.lock_own_job(retry_job.job_id);
  place timestamptz := clock_timestamp();
begin
  if job.status not in ('failed', 'cancelled') then
    return job.status;
  end if;
  update public.jobs j
  set status = 'queued', attempts = 0, start_tag = place, queue_at = place, available_at = null, worker_id = null,
    error_message = null, started_at = null, completed_at = null,
    metadata = coalesce(j.metadata, '{}') - array['error_type', 'job_type', 'timestamp', 'traceback', 'progress']
  where j.id = job.id;
  update public.images i set status = 'queued', progress = null, error_message = null, updated_at = now()
  where i.job_id = job.id and i.image_index is not null and i.status is distinct from 'completed';
  update public.videos v set status = 'queued', progress = null, error_message = null, updated_at = now()
  where v.job_id = job.id and v.image_index is not null and v.status is distinct from 'completed';
  perform pg_notify('consumer_jobs', '');
  return 'queued';
end
$$;

CREATE TABLE consumer.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE SEQUENCE consumer.claim_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE consumer.created (
    object text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE consumer.created IS 'What the migrations created, and so may drop: tables, columns as table.column, functions, publications.';

CREATE TABLE consumer.workers (
    id uuid NOT NULL,
    name text NOT NULL,
    engines text[] NOT NULL,
    lease_seconds double precision NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    beats bigint DEFAULT 0 NOT NULL,
    idle_since timestamp with time zone
);

COMMENT ON TABLE consumer.workers IS 'One row per live worker process; idle_since is NULL while it has work in hand.';

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
    CONSTRAINT images_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);

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
    CONSTRAINT videos_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);

ALTER TABLE ONLY consumer.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY consumer.created
    ADD CONSTRAINT created_pkey PRIMARY KEY (object);

ALTER TABLE ONLY consumer.job_types
    ADD CONSTRAINT job_types_pkey PRIMARY KEY (job_type);

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

CREATE INDEX jobs_claim_idx ON public.jobs USING btree (engine, queue_at, id) WHERE ((status = 'queued'::text) AND (queue_at IS NOT NULL));

CREATE INDEX jobs_due_idx ON public.jobs USING btree (available_at) WHERE ((status = 'queued'::text) AND (queue_at IS NULL) AND (available_at IS NOT NULL) AND (engine IS NOT NULL));

CREATE INDEX jobs_image_id_idx ON public.jobs USING btree (image_id) WHERE (image_id IS NOT NULL);

CREATE INDEX jobs_user_id_created_at_idx ON public.jobs USING btree (user_id, created_at);

CREATE INDEX jobs_video_id_idx ON public.jobs USING btree (video_id) WHERE (video_id IS NOT NULL);

CREATE INDEX jobs_worker_idx ON public.jobs USING btree (worker_id) WHERE (status = 'processing'::text);

CREATE UNIQUE INDEX videos_job_id_image_index_key ON public.videos USING btree (job_id, image_index);

CREATE INDEX videos_user_id_created_at_idx ON public.videos USING btree (user_id, created_at);

CREATE TRIGGER consumer_create_rows AFTER INSERT ON public.jobs REFERENCING NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION consumer.create_rows();

CREATE TRIGGER consumer_make_room BEFORE INSERT OR UPDATE OF job_id, image_index ON public.images FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (NOT new.managed))) EXECUTE FUNCTION consumer.make_room();

CREATE TRIGGER consumer_make_room BEFORE INSERT OR UPDATE OF job_id, image_index ON public.videos FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (NOT new.managed))) EXECUTE FUNCTION consumer.make_room();

CREATE TRIGGER consumer_put_in_line BEFORE INSERT ON public.jobs FOR EACH ROW EXECUTE FUNCTION consumer.put_in_line();

CREATE TRIGGER consumer_replace_ours AFTER INSERT OR UPDATE OF job_id, image_index ON public.images FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (new.image_index >= 0) AND (NOT new.managed))) EXECUTE FUNCTION consumer.replace_ours();

CREATE TRIGGER consumer_replace_ours AFTER INSERT OR UPDATE OF job_id, image_index ON public.videos FOR EACH ROW WHEN (((new.job_id IS NOT NULL) AND (new.image_index >= 0) AND (NOT new.managed))) EXECUTE FUNCTION consumer.replace_ours();

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

ALTER TABLE consumer.created ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.job_types ENABLE ROW LEVEL SECURITY;

ALTER TABLE consumer.workers ENABLE ROW LEVEL SECURITY;

CREATE POLICY consumer_insert_own ON public.jobs FOR INSERT TO authenticated WITH CHECK ((user_id = ( SELECT auth.uid() AS uid)));

CREATE POLICY consumer_read_own ON public.images FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));

CREATE POLICY consumer_read_own ON public.jobs FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));

CREATE POLICY consumer_read_own ON public.videos FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));

ALTER TABLE public.images ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.jobs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.videos ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON FUNCTION consumer.add_column(relation text, name text, definition text) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.api_role() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.asset_count(metadata jsonb, kind consumer.job_types) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.create_rows() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.drop_column(relation text, name text) FROM PUBLIC;

GRANT SELECT,INSERT ON TABLE public.jobs TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.jobs TO service_role;

REVOKE ALL ON FUNCTION consumer.link_named_rows(job public.jobs, kind consumer.job_types) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.lock_own_job(wanted uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.make_room() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.put_in_line() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.refuse_unless_plain(job public.jobs) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.refuse_while_rows(revision text) FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.replace_ours() FROM PUBLIC;

REVOKE ALL ON FUNCTION consumer.wake_idle_worker() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.cancel_job(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.cancel_job(job_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.cancel_job(job_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.retry_job(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.retry_job(job_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.retry_job(job_id uuid) TO service_role;

GRANT SELECT ON TABLE public.images TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.images TO service_role;

GRANT SELECT ON TABLE public.videos TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.videos TO service_role;

ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.images;
ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.jobs;
ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.videos;
