"""What the benchmarks share: a private Postgres with the schema, a no-op job type, and percentiles."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import psycopg

from consumer import embedded, migrate
from consumer.job import JobType, Medium
from tables import table

__all__ = ["NOOP", "database", "embedded", "milliseconds", "percentile", "server", "table", "user"]

sys.path.insert(0, str(Path(__file__).parent))

NOOP = JobType(
    "noop",
    "noop",
    Medium.image,
    defaults={"steps": 1, "guidance_scale": 1.0, "width": 64, "height": 64},
)


@contextmanager
def server() -> Iterator[embedded.Server]:
    """A Postgres as it comes, but for 512 MB of shared buffers; commits wait for the disk."""
    with embedded.start(settings={"shared_buffers": "512MB", "max_wal_size": "4GB"}) as running:
        yield running


def database(running: embedded.Server, name: str) -> str:
    """A new migrated database with the no-op job type; returns its DSN as `postgres`."""
    with psycopg.connect(running.dsn(user="supabase_admin"), autocommit=True) as admin:
        admin.execute(f"create database {name} owner postgres".encode())
    embedded.dress(running.dsn(name, "supabase_admin"))
    dsn = running.dsn(name)
    migrate.upgrade(dsn)
    migrate.push_job_types(dsn, [NOOP])
    return dsn


def user(dsn: str) -> UUID:
    """Sign up a user."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("insert into auth.users (id) values (gen_random_uuid()) returning id").fetchone()
    assert row
    found: UUID = row[0]
    return found


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which `share` of all lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(samples: Sequence[float]) -> dict[str, Any]:
    """p50, p95, p99 and the largest of samples in seconds, in milliseconds."""
    return {
        "p50 ms": round(median(samples) * 1000, 2),
        "p95 ms": round(percentile(samples, 0.95) * 1000, 2),
        "p99 ms": round(percentile(samples, 0.99) * 1000, 2),
        "max ms": round(max(samples) * 1000, 2),
    }
