"""The role consumer_worker, as a DBA lets it log in, and what it may run."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from consumer.statements import query
from postgres import Database, relogin

QUERIES = (
    *("claim_jobs", "complete_job", "fail_job", "retry_job", "release_job", "read_status", "promote_due"),
    *("admit_jobs", "record_images"),
    *("heartbeat", "held_jobs", "mark_idle", "watch_workers", "rescue_jobs", "delete_worker", "known_job_types"),
    *("prepare_images", "pending_images", "record_image", "prepare_videos", "pending_videos", "record_video"),
    *("record_progress", "store_prompt", "probe_listener", "revision"),
)
"""What a worker runs of sql/queries."""


def worker_dsn(db: Database, dba: str | None = None) -> str:
    """The URI of a test's database for consumer_worker, which may log in from now on, with the password of all.

    `dba` is the URI of the role that lets it, `postgres` where it is left out.
    """
    # Roles belong to the whole server, where another test process may be doing the same now.
    with psycopg.connect(relogin(dba or db.dsn, database="postgres")) as connection:
        connection.execute("select pg_advisory_xact_lock(72)")
        password = sql.Literal(connection.info.password)
        connection.execute(sql.SQL("alter role consumer_worker login password {}").format(password))
    return relogin(db.admin_dsn, user="consumer_worker")


def refusals(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """The worker's queries that the connection's role may not run. The rights are looked at, and nothing is written."""
    for name in QUERIES:
        try:
            with connection.transaction():
                for text in {query(name), query(name, 2)}:
                    connection.execute(("explain " + re.sub(r"%\(\w+\)[sb]", "null", text)).encode())
        except psycopg.errors.InsufficientPrivilege:
            yield name
