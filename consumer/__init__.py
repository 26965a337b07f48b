"""The worker beside the GPU: a row goes into `jobs`, pictures come out, the row says so.

The map of the house, from the top down; imports go down only.

    cli/        one file per command: parse, call a room below, print
    worker      THE LOOP: listener, claims, heartbeat, rescuer; signals and drain
    process     ONE JOB, top to bottom
    listen      LISTEN, reconnect; wake-ups are hints
    lease       who holds a job, since when it is trusted, why it must stop
    delivery    encode -> thumbnail -> upload -> record, beside the GPU
    queue       claim, complete, retry, fail, release, rescue: one method per file in sql/queries
    assets      the image and video rows of a job
    engines/    what makes the pixels: sketch, sdxl, and yours
    storage/    where the bytes go: local now, a bucket on Supabase
    database    connections; refuses a schema that is too old
    encode      pixels -> PNG, WebP, MP4 bytes; made once
    request     a jobs row -> a validated Request, or Rejected with a sentence
    errors      what can go wrong, and the one table that decides what follows
    job, job_types, backoff, settings, events, statements: the nouns and small rules
"""

__version__ = "0.1.0.dev0"
