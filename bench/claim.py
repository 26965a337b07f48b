"""What a claim costs against what stands in the table: `python bench/claim.py [claims]`.

Four databases on one server, claimed from in turn, so that noise meets all of them alike: 1,000 queued jobs;
1,000,000; 1,000,000 beside 200,000 that are not yet due; and 1,000,000 beside 1,000,000 finished ones.
"""

import sys
import time
from statistics import median
from uuid import uuid4

import psycopg

import stage
from consumer.statements import query

BACKLOGS = {
    "1,000 queued": (1_000, 0, 0),
    "1,000,000 queued": (1_000_000, 0, 0),
    "1,000,000 queued, 200,000 not due": (1_000_000, 200_000, 0),
    "1,000,000 queued, 1,000,000 finished": (1_000_000, 0, 1_000_000),
}

FILL = """
insert into public.jobs (user_id, job_type, engine, status, start_tag, queue_at, available_at, created_at)
select %(user)s, 'noop', 'noop', %(status)s, t, case when %(queued)s then t end,
  case when %(due_in)s::interval is not null then now() + %(due_in)s::interval + n * interval '1 ms' end, t
from generate_series(1, %(rows)s) as n, lateral (select now() - interval '1 day' + n * interval '1 ms' as t) as times
"""


def fill(running: stage.embedded.Server, name: str, queued: int, delayed: int, finished: int) -> psycopg.Connection:
    """A database with that many jobs, vacuumed; triggers are off, for only the queue's indexes matter here."""
    dsn = stage.database(running, name)
    user = stage.user(dsn)
    with psycopg.connect(running.dsn(name, "supabase_admin"), autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        parts = [
            ("completed", False, None, finished),
            ("queued", False, "1 day", delayed),
            ("queued", True, None, queued),
        ]
        for status, in_line, due_in, rows in parts:
            admin.execute(FILL, {"user": user, "status": status, "queued": in_line, "due_in": due_in, "rows": rows})
        admin.execute("vacuum analyze public.jobs")
    return psycopg.connect(dsn, autocommit=True)


def main() -> None:
    """Claim in turn, and print what one claim takes."""
    claims = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    parameters = {"worker_id": uuid4(), "engines": ["noop"], "job_types": ["noop"], "max_attempts": 3}
    with stage.server() as running:
        connections = {
            title: fill(running, f"claim_{number}", *sizes) for number, (title, sizes) in enumerate(BACKLOGS.items())
        }
        samples: dict[str, list[float]] = {title: [] for title in BACKLOGS}
        for turn in range(claims + 20):
            for title, connection in connections.items():
                started = time.perf_counter()
                row = connection.execute(query("claim_job"), parameters).fetchone()
                if turn >= 20:
                    samples[title].append(time.perf_counter() - started)
                assert row
        for connection in connections.values():
            connection.close()
    base = median(next(iter(samples.values())))
    stage.table(
        [
            {"backlog": title, **stage.milliseconds(taken), "ratio of p50": round(median(taken) / base, 2)}
            for title, taken in samples.items()
        ]
    )


if __name__ == "__main__":
    main()
