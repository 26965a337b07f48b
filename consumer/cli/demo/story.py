"""The demo, from an empty folder to a gallery."""

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from uuid import UUID

from rich.console import Console
from rich.markup import escape

from consumer import child, embedded, engines, job_types, migrate
from consumer.cli.bars import Bars
from consumer.cli.demo.folder import Folder, taken
from consumer.cli.demo.report import BUCKET, report
from consumer.cli.demo.wishes import USERS, Wish, wishes
from consumer.cli.terminal import console
from consumer.client import Client, JobView, follow
from consumer.database import connect
from consumer.errors import ConsumerError, UsageError
from consumer.interruption import Interruption
from consumer.statements import HEAD, query

PATIENCE = 120.0
"""Seconds without any change after which the demo gives up; a real model may have to be downloaded first."""

KEPT = ("CONSUMER_SKETCH_SECONDS", "CONSUMER_MODEL_SDXL", "CONSUMER_MODEL_WAN", "CONSUMER_DEVICE")
"""Settings that the demo takes from its environment; all others it makes itself."""

RANDOM = (
    "The pipeline is the real one, its weights are random, and so the pictures show nothing: "
    "set {} to a model for real ones."
)

Submitted = list[tuple[Client, UUID]]


def demo(args: argparse.Namespace, interruption: Interruption) -> int:
    """Start everything, submit, watch, show, stop everything."""
    started, out = time.monotonic(), console()
    check(args)
    interruption.check()
    with ExitStack() as stack:
        folder = stack.enter_context(taken(args.directory))
        server = stack.enter_context(embedded.start())
        interruption.check()
        say(out, "a private Postgres 16, dressed as a Supabase project", started)
        migrate.upgrade(server.dsn())
        count = migrate.push_job_types(server.dsn(), job_types.load().values())
        say(out, f"migrated to revision {HEAD}, {count} job types", started)
        environment = worker_environment(server.dsn(), folder, args.engine)
        command = [sys.executable, "-m", "consumer", "run", "--engines", args.engine]
        worker = stack.enter_context(child.running(command, environment, folder.path, folder.log))
        say(out, f"a worker with the engine {args.engine}, in a process of its own", started)
        setting = f"CONSUMER_MODEL_{args.engine.upper()}"
        random_weights = environment.get(setting) == "tiny"
        wanted = wishes(args.jobs, args.engine, small=random_weights)
        submitted = submit(sign_up(stack, server), wanted)
        say(out, f"rows inserted into `jobs` as a browser would, with a user's claims: {len(wanted)}\n", started)
        patience = PATIENCE if random_weights or args.engine == "sketch" else math.inf
        jobs = watch(out, submitted, worker, folder, interruption, patience)
        return report(
            out, jobs, folder, f"the engine {args.engine}", RANDOM.format(setting) if random_weights else "", started
        )


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for what cannot be shown, before anything is started."""
    if not 1 <= args.jobs <= 100:
        raise UsageError("--jobs must be a whole number from 1 to 100.")
    if missing := engines.missing(args.engine):
        raise UsageError(
            f"The engine {args.engine} needs {', '.join(missing)}: pip install 'consumer[gpu]', "
            f"or `make demo ENGINE={args.engine}`, which does."
        )


def say(out: Console, what: str, started: float) -> None:
    """One line about one thing done, and when."""
    out.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  {escape(what)}")


def worker_environment(dsn: str, folder: Folder, engine: str) -> Mapping[str, str]:
    """Our own environment without any setting of a real worker, and with those of the demo's."""
    foreign = ("CONSUMER_", "SUPABASE_", "DATABASE_URL", "PG")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept = {name: os.environ[name] for name in KEPT if os.environ.get(name)}
    usual = {"CONSUMER_SKETCH_SECONDS": "0.5", "CONSUMER_MODEL_SDXL": "tiny", "CONSUMER_MODEL_WAN": "tiny"}
    own = {
        "DATABASE_URL": dsn,
        "CONSUMER_STORAGE": "local",
        "CONSUMER_STORAGE_DIR": str(folder.storage),
        "CONSUMER_BUCKET": BUCKET,
        "CONSUMER_ENGINES": engine,
        "CONSUMER_GRACE_SECONDS": "0",
        "CONSUMER_LOG": "json",
    }
    return inherited | usual | kept | own


def sign_up(stack: ExitStack, server: embedded.Server) -> list[Client]:
    """A few users, each on a connection of its own, as PostgREST's `authenticator`."""
    with connect(server.dsn()) as operator:
        ids = [operator.execute(query("sign_up"), {"email": email}).fetchall()[0]["id"] for email in USERS]
    dsn = server.dsn(user="authenticator")
    return [Client(stack.enter_context(connect(dsn)), user) for user in ids]


def submit(users: Sequence[Client], wanted: Sequence[Wish]) -> Submitted:
    """Insert the jobs, one user after the other."""
    turns = zip(cycle(users), wanted, strict=False)
    return [(user, user.submit(wish.job_type, wish.prompt, wish.metadata)) for user, wish in turns]


def watch(
    out: Console,
    submitted: Submitted,
    worker: subprocess.Popen[bytes],
    folder: Folder,
    interruption: Interruption,
    patience: float,
) -> list[JobView]:
    """Show the progress until all jobs have ended; raises ConsumerError when they never will."""
    jobs: list[JobView] = []
    changed = time.monotonic()
    with Bars(out) as bars:
        for seen in follow(lambda: [job for user, job_id in submitted for job in user.read([job_id])]):
            interruption.check()
            bars.show(seen)
            changed = changed if seen == jobs else time.monotonic()
            jobs = seen
            if all(job.ended for job in jobs):
                break
            if (code := worker.poll()) is not None:
                raise ConsumerError(f"The worker ended too early, with exit code {code}. {log_of(folder)}")
            if time.monotonic() - changed > patience:
                raise ConsumerError(f"Nothing has happened for {patience:.0f} seconds. {log_of(folder)}")
    return jobs


def log_of(folder: Folder) -> str:
    """Where the worker's log is, and its last line."""
    lines = folder.log.read_text(errors="replace").splitlines()
    return f"Its log is {folder.log}" + (f", and ends with:\n{lines[-1]}" if lines else ".")
