"""The worker: hears of jobs, claims them, runs their engines, stores the results, until it is told to stop."""

import argparse
import asyncio
import math
import os
import sys
from contextlib import suppress
from typing import Any
from uuid import uuid4

from consumer import events, health, preload
from consumer.claims import Until
from consumer.database import Database, check_role, check_schema, connect
from consumer.engines import available, create, enhance, options_of
from consumer.engines.residency import Residency
from consumer.errors import DatabaseRefusedError, UsageError
from consumer.gate import Gate, PasswordRefusedError
from consumer.job_types import load, served
from consumer.listen import LISTEN_URL
from consumer.pooler import Mode, mode
from consumer.settings import Settings, load_settings
from consumer.storage import open_storage
from consumer.worker import UNUSABLE, Worker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer run`; the environment has the rest."""
    parser.add_argument(
        "--engines",
        metavar="NAMES",
        help="serve only these engines (comma list); sketch alone stands in for all",
    )
    parser.add_argument("--once", action="store_true", help="take at most one job, and none if none is queued")
    parser.add_argument(
        "--drain-and-exit",
        action="store_true",
        help="exit when no job is in line (those that wait for their time do not count)",
    )
    parser.add_argument("--idle-exit", type=seconds, metavar="SECONDS", help="exit after so long without a job")
    parser.add_argument("--max-jobs", type=at_least_one, metavar="N", help="exit after N jobs")


def seconds(text: str) -> float:
    """A length of time that ends."""
    with suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more.")


def at_least_one(text: str) -> int:
    """A number of jobs."""
    with suppress(ValueError):
        if (number := int(text)) >= 1:
            return number
    raise argparse.ArgumentTypeError("must be a whole number, 1 or more.")


def run(args: argparse.Namespace) -> int:
    """Start the worker; returns its exit code."""
    settings = load_settings(engines=args.engines)
    events.configure(settings.log)
    if settings.health_file:
        health.check(settings.health_file)
    code = asyncio.run(_work(settings, _connections(settings), args))
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _connections(settings: Settings) -> tuple[Database, Database]:
    """For work and for the heartbeat, not yet open. Raises DatabaseRefusedError, SchemaTooOldError."""
    dsn, role = settings.require_database_url(), settings.database_role
    with connect(dsn) as connection:
        pooled = mode(dsn) is Mode.transaction
        if role and pooled:
            raise DatabaseRefusedError(
                "CONSUMER_DATABASE_ROLE needs a direct or session address (port 5432) in DATABASE_URL: behind a pooler "
                "in transaction mode, SET ROLE would reach other sessions."
            )
        if role:
            check_role(connection, role)
        check_schema(connection)
    assert settings.listen_url
    if settings.listen_url != settings.database_url:
        try:
            connect(settings.listen_url.get_secret_value(), LISTEN_URL).close()
        except PasswordRefusedError:
            raise
        except DatabaseRefusedError:
            # Without it jobs are only found later; it is tried again while the worker runs.
            pass
    gate = Gate(settings.password_seconds)
    answer_seconds = settings.lease_seconds / 2 + 5
    options: dict[str, Any] = {"prepare": not pooled, "role": role, "gate": gate, "answer_seconds": answer_seconds}
    return Database(dsn, **options), Database(dsn, size=1, **options)


async def _work(settings: Settings, databases: tuple[Database, Database], args: argparse.Namespace) -> int:
    names = settings.engines or available()
    job_types = served(load(settings.job_types, settings.models), names, stand_in=settings.stand_in)
    options = options_of(settings)
    residency = Residency(options)
    engines = {name: create(name, settings.models.get(name, ""), options, residency) for name in names}
    enhancer = None if settings.stand_in else enhance.create(settings.model_enhance, options, residency)
    if not job_types:
        raise UsageError(f"No job type names one of the engines {', '.join(names)}: see `consumer engines`.")
    if settings.stand_in:
        engines = dict.fromkeys((job_type.engine for job_type in job_types.values()), engines["sketch"])
    named = {job_type.engine for job_type in job_types.values()}
    default = preload.choose(settings.preload, {name: engine for name, engine in engines.items() if name in named})
    if args.once or args.drain_and_exit:
        # There may be nothing to do, and a load takes minutes.
        default = None
    storage = open_storage(settings)
    database, pulse = databases
    await database.open()
    await pulse.open()
    assert settings.listen_url
    worker = Worker(
        uuid4(),
        database,
        settings.listen_url.get_secret_value(),
        storage,
        engines,
        job_types,
        settings,
        Until(args.once, args.drain_and_exit, args.idle_exit, args.max_jobs),
        pulse,
        enhancer,
        default,
        residency,
    )
    worker.handle_signals()
    try:
        code = await worker.run()
    finally:
        await storage.close()
        await pulse.close()
        await database.close()
    if worker.hands.forced or worker.lane.running or code == UNUSABLE:
        # A step, an encoder or an upload that never returns would keep the process alive; its job has been released.
        # And a device that broke may hang or crash whoever cleans up.
        sys.stderr.flush()
        os._exit(code)
    return code
