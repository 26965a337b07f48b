"""The worker: hears of jobs, claims them, runs their engines, stores the results, until it is told to stop."""

import argparse
import asyncio
import math
import os
import sys
from contextlib import suppress
from uuid import uuid4

from consumer import events
from consumer.database import Database, check_schema, connect
from consumer.engines import available, create
from consumer.errors import UsageError
from consumer.job_types import load, served
from consumer.settings import Settings, load_settings
from consumer.storage import open_storage
from consumer.worker import Until, Worker


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
    dsn = settings.require_database_url()
    with connect(dsn) as connection:
        check_schema(connection)
    code = asyncio.run(_work(settings, dsn, args))
    sys.stdout.flush()
    sys.stderr.flush()
    return code


async def _work(settings: Settings, dsn: str, args: argparse.Namespace) -> int:
    names = settings.engines or available()
    job_types = served(load(settings.job_types), names, stand_in=settings.stand_in)
    engines = {name: create(name, settings.models.get(name, ""), settings.device) for name in names}
    if not job_types:
        raise UsageError(f"No job type names one of the engines {', '.join(names)}: see `consumer engines`.")
    if settings.stand_in:
        engines = dict.fromkeys((job_type.engine for job_type in job_types.values()), engines["sketch"])
    database, pulse = Database(dsn), Database(dsn, size=1)
    await database.open()
    await pulse.open()
    storage = open_storage(settings)
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
    )
    worker.handle_signals()
    try:
        code = await worker.run()
    finally:
        await storage.close()
        await pulse.close()
        await database.close()
    if worker.forced or worker.lane.running:
        # A step, an encoder or an upload that never returns would keep the process alive; its job has been released.
        sys.stderr.flush()
        os._exit(code)
    return code
