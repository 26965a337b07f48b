"""Who takes part, with which settings, and in which tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rivals.install import HERE, NODE_HOME

EVERY = frozenset({"drain", "pickup", "idle", "recovery", "blocking"})


@dataclass(frozen=True)
class Peer:
    """One queue. `runtime` names what its program needs (own, python, node); `unfinished` is a query that is true while
    a job is not finished; `insert` enqueues a job with the payload in its one parameter."""

    name: str
    runtime: str
    program: str
    unfinished: str
    insert: str

    def command(self, runtimes: Mapping[str, Path | None]) -> list[str | Path]:
        """How its program is run."""
        runtime = runtimes[self.runtime]
        assert runtime
        return [runtime, (NODE_HOME if self.runtime == "node" else HERE) / self.program]


@dataclass(frozen=True)
class Contestant:
    """One configuration of a queue."""

    name: str
    peer: Peer
    settings: Mapping[str, Any] = field(default_factory=dict)
    tables: frozenset[str] = EVERY


PGQUEUER = Peer(
    "pgqueuer",
    "python",
    "with_pgqueuer.py",
    "select exists (select from pgqueuer)",
    """
    with job as (
      insert into pgqueuer (priority, entrypoint, payload, status)
      values (0, 'noop', convert_to(%s, 'UTF8'), 'queued')
      returning id, entrypoint, priority
    )
    insert into pgqueuer_log (job_id, status, entrypoint, priority) select id, 'queued', entrypoint, priority from job
    """,
)

PROCRASTINATE = Peer(
    "procrastinate",
    "python",
    "with_procrastinate.py",
    "select exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
    """
    select procrastinate_defer_jobs_v1(array[
      row('default', 'noop', 0, null, null, jsonb_build_object('payload', %s::text), null)
    ]::procrastinate_job_to_defer_v1[])
    """,
)

GRAPHILE = Peer(
    "graphile",
    "node",
    "with_graphile.mjs",
    "select exists (select from graphile_worker._private_jobs)",
    "select graphile_worker.add_job('noop', %s::json)",
)

PGBOSS = Peer(
    "pgboss",
    "node",
    "with_pgboss.mjs",
    "select exists (select from pgboss.job where state < 'completed')",
    """
    with told as (
      insert into pgboss.job (name, data, policy, heartbeat_seconds)
      select q.name, %s::jsonb, q.policy, q.heartbeat_seconds from pgboss.queue q where q.name = 'noop'
      returning name
    )
    select pg_notify('pgboss_' || left(encode(sha224('pgboss'), 'hex'), 24), name) from told
    """,
)

CONSUMER = Peer(
    "consumer",
    "own",
    "with_consumer.py",
    "select exists (select from public.jobs where status in ('queued', 'processing'))",
    """
    insert into public.jobs (user_id, job_type, original_prompt) select u.id, 'noop', %s from auth.users u limit 1
    """,
)

CONTESTANTS = [
    Contestant("pgqueuer asyncpg default", PGQUEUER, {"driver": "asyncpg"}),
    Contestant("pgqueuer asyncpg b100", PGQUEUER, {"driver": "asyncpg", "batch": 100}, frozenset({"drain"})),
    Contestant("pgqueuer psycopg default", PGQUEUER, {"driver": "psycopg"}, EVERY - {"recovery", "blocking"}),
    Contestant("pgqueuer psycopg b100", PGQUEUER, {"driver": "psycopg", "batch": 100}, frozenset({"drain"})),
    Contestant("pgqueuer psycopg b256", PGQUEUER, {"driver": "psycopg", "batch": 256}, frozenset({"drain"})),
    Contestant(
        "pgqueuer, in a thread", PGQUEUER, {"driver": "asyncpg", "thread": True}, frozenset({"recovery", "blocking"})
    ),
    Contestant("procrastinate c10", PROCRASTINATE),
    Contestant("procrastinate, stalled recipe", PROCRASTINATE, {"recipe": True}, frozenset({"recovery", "blocking"})),
    Contestant(
        "procrastinate, recipe, in a thread", PROCRASTINATE, {"recipe": True, "thread": True}, frozenset({"blocking"})
    ),
    Contestant("graphile c10", GRAPHILE),
    Contestant("graphile c10-localqueue", GRAPHILE, {"localQueue": 500}, EVERY - {"recovery", "blocking"}),
    Contestant("pgboss b10-burst-lc10", PGBOSS, {"batch": 10, "burst": True, "concurrency": 10}),
    Contestant("pgboss b500-burst-lc2", PGBOSS, {"batch": 500, "burst": True, "concurrency": 2}, frozenset({"drain"})),
    Contestant(
        "pgboss notify-lc10", PGBOSS, {"batch": 1, "concurrency": 10, "notify": True}, frozenset({"pickup", "idle"})
    ),
    Contestant(
        "pgboss heartbeat10",
        PGBOSS,
        {"batch": 1, "concurrency": 1, "heartbeat": 10},
        frozenset({"recovery", "blocking"}),
    ),
    Contestant("consumer", CONSUMER),
    Contestant("consumer b100", CONSUMER, {"batch": 100}, frozenset({"drain"})),
    Contestant("consumer b256", CONSUMER, {"batch": 256}, frozenset({"drain"})),
]
