"""The worker beside the GPU: a row goes into `jobs`, pictures come out, the row says so.

The map of the house, from the top down; imports go down only.

    cli/        one file per command: parse, call a room below, print
    worker      what runs beside each other: listener, claims, heartbeat, rescuer; signals and drain
    claims      THE LOOP: while there is room, the next jobs are claimed and begun
    intake      where the next job comes from: a claim, after a hint or a sweep
    process     ONE JOB, top to bottom
    preload     the model that is loaded before the first claim
    listen      LISTEN, reconnect; wake-ups are hints
    hands       the jobs in hand, and how they end when the worker leaves
    lease       who holds a job, since when it is trusted, why it must stop
    heartbeat   keeps our jobs, rescues those of the dead (rescue: who is dead)
    lane        one thread to the GPU, one job at a time
    watchdog    notices work there that hangs
    turns       which job types are claimed from, so that models are not loaded at each job
    failures    failures in a row: when a process stops blaming the jobs
    progress    how far a job is, shown at most once a second
    reach       whether the storage is there; nothing is claimed while it is away
    delivery    encode -> thumbnail -> upload -> record, beside the GPU
    queue       claim, complete, retry, fail, release, rescue: one method per file in sql/queries
    assets      the image and video rows of a job
    engines/    what makes the pixels: sketch, sdxl, wan, and yours; enhance rewrites prompts; residency (with its
                neighbours ledger, placement, offload, budget, memory) keeps what they load on one device
    references  the pictures that a request refers to (web gets them, pictures reads them)
    storage/    where the bytes go: a bucket on Supabase, or a folder
    database    connections; refuses a schema that is too old
    pooler      which way a DSN goes: direct, or through a pooler in session or transaction mode
    login, gate each address once, and a refused password slowly
    health      the worker's own readiness, told to whoever watches the process
    notice      whether this machine is about to be taken away
    migrate     the schema of this version, by Alembic; only `consumer migrate` comes here
    way_back    which revisions a way back undoes, and what is tried before
    preflight/  what an existing database holds that a migration would stumble over; reads only
    export      the migrations as files for the Supabase CLI
    unrecorded  objects in the storage that no row tells of
    purge       jobs that ended long ago go, rows and objects (ended: which, and what keeps one)
    doctor/     everything that could fail silently, checked
    client      what a frontend does, for the commands submit and demo
    embedded    a private Postgres from a wheel (its files: cluster), dressed as a Supabase database
    encode      pixels -> PNG, WebP, MP4 bytes; made once
    request     a jobs row -> a validated Request, or Rejected with a sentence (fields, sizes, limits help)
    errors      what can go wrong, and the one table that decides what follows
    failpoints  named points of a job's life at which a test makes things go wrong
    together    calls of one moment that become one statement
    pace        how long a job still needs on the lane, by its own steps
    footprint   how much memory this process takes
    job, job_types, profiles, tables, backoff, settings, events, statements, child, tasks, interruption: the nouns and
                small rules
"""

__version__ = "0.1.0.dev0"
