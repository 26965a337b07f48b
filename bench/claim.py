"""What a claim costs against what stands in the table: `python bench/claim.py [--quick] [--claims N]`.

Databases on one server, claimed from in turn, so that noise meets all of them alike. Commits do not wait for the disk:
that wait is the same for all, and would hide what differs. Queued jobs come a hundred from each user, user by user, and
are served in rounds of all users, so that neighbours in the line are no neighbours in the table.

What a day does is 200,000 jobs inserted, claimed, recorded and completed by the worker's own statements, in batches of
50, with autovacuum as the migrations set it. The open transaction began before 20,000 such jobs and is still open while
the claims are measured, so that nothing can be vacuumed. Takes some ten minutes and 8 GB of disk.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

import stage
from consumer.database import SESSION
from consumer.queue import MEASURED
from consumer.statements import query

EACH = 100
"""Queued jobs of one user."""

BATCH = 50

USERS = "insert into auth.users (id) select gen_random_uuid() from generate_series(1, %s)"

QUEUED = """
insert into public.jobs (user_id, job_type, engine, status, start_tag, finish_tag, queue_at, created_at)
select u.id, 'noop', 'noop', 'queued', tag, tag + interval '1 second', tag,
  now() - interval '1 hour' + u.place * interval '1 ms'
from (select id, row_number() over (order by id) as place from auth.users order by id limit %(rows)s / %(each)s) as u
cross join generate_series(1, %(each)s) as nth
cross join lateral (select now() + nth * interval '1 second' + u.place * interval '1 us' as tag) as tags
"""

IMAGES = """
insert into public.images (user_id, job_id, image_index, status, managed)
select user_id, id, 0, 'queued', true from public.jobs where status = 'queued'
"""

FINISHED = """
insert into public.jobs (
  user_id, job_type, engine, status, start_tag, finish_tag, created_at, started_at, completed_at, attempts, claim_id,
  metadata
)
select u.ids[1 + n %% cardinality(u.ids)], 'noop', 'noop', 'completed', t, t + interval '1 second', t, t, t, 1,
  nextval('consumer.claim_ids'), '{"seed": 7, "progress": 100}'
from (select array_agg(id) as ids from auth.users) as u
cross join generate_series(1, %(rows)s) as n
cross join lateral (select now() - interval '90 days' + n * interval '1 second' as t) as times
"""

INSERT = """
insert into public.jobs (user_id, job_type, original_prompt) select u, 'noop', 'a harbour' from unnest(%s::uuid[]) as u
"""


@dataclass(frozen=True)
class Sizes:
    """How many rows, cycles and claims."""

    few: int = 10_000
    many: int = 1_000_000
    finished: int = 5_000_000
    churn: int = 200_000
    behind: int = 20_000
    claims: int = 2_000


QUICK = Sizes(few=500, many=2_000, finished=2_000, churn=200, behind=100, claims=50)


def told(text: str) -> None:
    """Where it is: to stderr, for the table is what stdout is for."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextmanager
def filling(running: stage.embedded.Server, name: str) -> Iterator[psycopg.Connection]:
    """A connection that writes rows as they are, without triggers; they are vacuumed at the end."""
    with psycopg.connect(running.dsn(name, "supabase_admin"), autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute("set synchronous_commit = off")
        yield admin
        admin.execute("vacuum (analyze) public.jobs, public.images")
        admin.execute("checkpoint")


def fill(running: stage.embedded.Server, name: str, queued: int) -> None:
    """A database with so many queued jobs and their image rows."""
    told(f"{queued:,} queued")
    stage.database(running, name)
    with filling(running, name) as admin:
        admin.execute(USERS, (max(1, queued // EACH),))
        admin.execute(QUEUED, {"rows": queued, "each": EACH})
        admin.execute(IMAGES)


def copy(running: stage.embedded.Server, name: str, of: str) -> None:
    """A database with the same rows in the same places."""
    with psycopg.connect(running.dsn(user="supabase_admin"), autocommit=True) as admin:
        admin.execute(f"create database {name} template {of} owner postgres strategy file_copy".encode())


def connect(running: stage.embedded.Server, name: str) -> psycopg.Connection[dict[str, Any]]:
    """A worker's connection that does not wait for the disk."""
    connection = psycopg.connect(running.dsn(name), autocommit=True, row_factory=dict_row)
    connection.execute("set synchronous_commit = off")
    connection.execute(SESSION)
    return connection


def claim(connection: psycopg.Connection[dict[str, Any]], worker: UUID, limit: int) -> list[dict[str, Any]]:
    """The next jobs in line."""
    wanted = {
        "worker_id": worker,
        "job_types": ["noop"],
        "served": ["noop"],
        "priority_seconds": 60.0,
    }
    return connection.execute(query("claim_jobs", limit), wanted).fetchall()


def churn(running: stage.embedded.Server, name: str, cycles: int) -> None:
    """So many jobs come, and as many are claimed, recorded and completed."""
    told(f"{cycles:,} cycles")
    with connect(running, name) as connection:
        users = [row["id"] for row in connection.execute("select id from auth.users")]
        worker, result = uuid4(), {"width": 1024, "height": 1024, "format": "png", "seed": 7, "asset_index": 0}
        for _ in range(cycles // BATCH):
            connection.execute(INSERT, (random.choices(users, k=BATCH),))
            jobs = claim(connection, worker, BATCH)
            with connection.pipeline():
                completed = [finish(connection, job, result) for job in jobs]
            assert len(jobs) == BATCH
            assert all(cursor.fetchall() == [{"completed": True, "held": True}] for cursor in completed)


def finish(
    connection: psycopg.Connection[dict[str, Any]], job: dict[str, Any], result: dict[str, Any]
) -> psycopg.Cursor[dict[str, Any]]:
    """Record one picture and complete the job."""
    where = f"{job['user_id']}/{job['id']}/0"
    key = {"job_id": job["id"], "claim_id": job["claim_id"]}
    picture = {
        "index": 0, "seed": 7, "url": f"{where}.png", "thumbnail_url": f"{where}.thumb.webp", "format": "png",
        "file_size": 1_500_000, "metadata": Jsonb(result),
    }  # fmt: skip
    connection.execute(query("record_image"), key | picture)
    return connection.execute(query("complete_job"), key | {"count": 1, "measured": MEASURED})


def measure(connections: dict[str, psycopg.Connection[dict[str, Any]]], claims: int) -> dict[str, list[float]]:
    """Seconds of each claim of one job, from each database in turn; the first ones warm up."""
    samples: dict[str, list[float]] = {title: [] for title in connections}
    warm, worker = claims // 10, uuid4()
    for turn in range(claims + warm):
        for title, connection in connections.items():
            started = time.perf_counter()
            found = claim(connection, worker, 1)
            if turn >= warm:
                samples[title].append(time.perf_counter() - started)
            assert found
    return samples


def dead(connection: psycopg.Connection[dict[str, Any]]) -> int:
    """Rows of jobs that wait for a vacuum, as Postgres counts them."""
    [row] = connection.execute("select n_dead_tup from pg_stat_user_tables where relid = 'public.jobs'::regclass")
    return int(row["n_dead_tup"])


def report(samples: dict[str, list[float]], dead_rows: dict[str, int]) -> None:
    """The table; ratios are to its first line."""
    base = stage.milliseconds(next(iter(samples.values())))
    rows = []
    for title, taken in samples.items():
        figures = stage.milliseconds(taken)
        ratios = {f"ratio of {name}": f"{figures[f'{name} ms'] / base[f'{name} ms']:.2f}" for name in ("p50", "p95")}
        rows.append({"in the table": title, "dead rows": f"{dead_rows[title]:,}", **figures, **ratios})
    stage.table(rows)


def main() -> None:
    """Fill, churn, claim in turn, and print what one claim takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows: does it run?")
    parser.add_argument("--claims", type=int, metavar="N", help="claims from each database")
    args = parser.parse_args()
    sizes = QUICK if args.quick else Sizes()
    titles = {
        "few": f"{sizes.few:,} queued",
        "many": f"{sizes.many:,} queued, {sizes.many // EACH:,} users",
        "finished": f"the same, and {sizes.finished:,} finished",
        "churned": f"the same as the second, after {sizes.churn:,} jobs more",
        "behind": f"the same as the second, after {sizes.behind:,} jobs more behind an open transaction",
    }
    with stage.server() as running:
        fill(running, "few", sizes.few)
        fill(running, "many", sizes.many)
        for name in ("finished", "churned", "behind"):
            copy(running, name, "many")
        told(f"{sizes.finished:,} finished")
        with filling(running, "finished") as admin:
            admin.execute(FINISHED, {"rows": sizes.finished})
        churn(running, "churned", sizes.churn)
        with psycopg.connect(running.dsn("behind")) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            reader.execute("select count(*) from consumer.job_types")
            churn(running, "behind", sizes.behind)
            connections = {title: connect(running, name) for name, title in titles.items()}
            told("claims")
            dead_rows = {title: dead(connection) for title, connection in connections.items()}
            samples = measure(connections, args.claims or sizes.claims)
            for connection in connections.values():
                connection.close()
    report(samples, dead_rows)


if __name__ == "__main__":
    main()
