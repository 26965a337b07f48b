"""What our triggers' NOTIFY costs the application: `python bench/notify.py [rounds] [seconds]`.

pgbench inserts single jobs of 1,000 users with 32 clients, as PostgREST does: role and claims set for the transaction,
the INSERT, the COMMIT, here in one round trip. Four ways in turn on one database, so that noise meets all alike: the
triggers as they are while every worker is busy; the same without the one that notifies; with a plain NOTIFY for each
statement in its place; and the triggers as they are beside a worker that is idle for ever, as no real one is.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psycopg

import stage

CLIENTS = 32

SCRIPT = """
\\set n random(1, 1000)
\\startpipeline
begin;
select set_config('role', 'authenticated', true),
  set_config('request.jwt.claims', '{"sub": "' || lpad((:n)::text, 32, '0') || '"}', true);
insert into public.jobs (user_id, job_type, original_prompt, metadata) values
  (lpad((:n)::text, 32, '0')::uuid, 'noop', 'x', '{"seed": 1}');
commit;
\\endpipeline
"""

SETUP = """
insert into auth.users (id) select lpad(n::text, 32, '0')::uuid from generate_series(1, 1000) as n;
insert into consumer.workers (id, name, engines, job_types, lease_seconds)
select gen_random_uuid(), 'busy', array['noop'], array['noop'], 86400 from generate_series(1, 4);
create function public.plain_notify() returns trigger language plpgsql as
$$ begin perform pg_notify('consumer_jobs', ''); return null; end $$;
create trigger plain_notify after insert on public.jobs for each statement execute function public.plain_notify();
"""

WAYS = {
    "all workers busy": ("enable", "disable", "null"),
    "without our notifying trigger": ("disable", "disable", "null"),
    "a plain NOTIFY per statement instead": ("disable", "enable", "null"),
    "one worker idle": ("enable", "disable", "now()"),
}
"""What becomes of our trigger, of the plain one, and since when one worker is idle."""


def turn_to(admin: psycopg.Connection, ours: str, plain: str, idle_since: str) -> None:
    """Empty tables, and the triggers of one of the WAYS."""
    admin.execute("truncate public.jobs, public.images, public.videos")
    admin.execute(f"alter table public.jobs {ours} trigger consumer_wake_idle_worker".encode())
    admin.execute(f"alter table public.jobs {plain} trigger plain_notify".encode())
    one = "(select min(id::text) from consumer.workers)"
    admin.execute(f"update consumer.workers set idle_since = {idle_since} where id::text = {one}".encode())
    admin.execute("checkpoint")


def listening(dsn: str, count: int) -> Iterator[psycopg.Connection]:
    """Connections that hear of jobs, as those of workers do."""
    for _ in range(count):
        listener = psycopg.connect(dsn, autocommit=True)
        listener.execute("listen consumer_jobs")
        yield listener


def inserts_per_second(running: stage.embedded.Server, dsn: str, script: Path, seconds: int) -> float:
    """What pgbench reaches."""
    command = [
        str(running.bin("pgbench")), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds),
        "-f", str(script), dsn,
    ]  # fmt: skip
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found, done.stdout
    assert "failed transactions: 0 " in done.stdout, done.stdout
    return float(found[1])


def main() -> None:
    """Each way once per round; prints the medians, and how they compare with the first without our trigger."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    samples: dict[str, list[float]] = {way: [] for way in WAYS}
    with stage.server() as running, tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        dsn = stage.database(running, "notify")
        with psycopg.connect(running.dsn("notify", "supabase_admin"), autocommit=True) as admin:
            admin.execute(SETUP)
            listeners = list(listening(dsn, 4))
            for _ in range(rounds):
                for way, states in WAYS.items():
                    turn_to(admin, *states)
                    samples[way].append(inserts_per_second(running, dsn, Path(script.name), seconds))
            for listener in listeners:
                listener.close()
    base = samples["without our notifying trigger"]
    stage.table(
        [
            {
                "way": way,
                "inserts/s": round(median(reached)),
                "lowest": round(min(reached)),
                "highest": round(max(reached)),
                # Of neighbours in time, for the machine's pace changes.
                "ratio": round(median(mine / other for mine, other in zip(reached, base, strict=True)), 2),
            }
            for way, reached in samples.items()
        ]
    )


if __name__ == "__main__":
    main()
