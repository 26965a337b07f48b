"""`consumer jobs purge`: delete jobs that ended long ago, with their rows and their objects in the storage."""

import argparse
import asyncio
import sys
from collections import Counter

from rich.filesize import decimal

from consumer.cli.storage import age
from consumer.cli.terminal import console, print_json
from consumer.client import Connection
from consumer.ended import Wanted
from consumer.errors import UsageError
from consumer.job import Status
from consumer.purge import purge
from consumer.settings import load_settings
from consumer.statements import query
from consumer.storage import open_storage

ENDED = (Status.completed, Status.failed, Status.cancelled)
GONE = ("jobs", "images", "videos", "objects", "bytes")
KEPT = {
    "application": "rows of the application's own belong to them; --with-application-rows deletes both.",
    "referred": "another row refers to them, or names one of their objects.",
    "held": "somebody was changing them; the next run will look again.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer jobs purge`."""
    parser.add_argument(
        "--older-than", type=age, required=True, metavar="AGE", help="that ended so long ago, such as 90m, 12h or 30d"
    )
    parser.add_argument(
        "--status", type=statuses, action="extend", metavar="STATUS",
        help="only completed, failed or cancelled ones; several with commas, or several times",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument(
        "--with-application-rows", action="store_true",
        help="also jobs that have rows of the application's own in images, videos or workspace_assets, and those rows; "
        "without this such jobs stay whole, for to their users these pictures are theirs",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def statuses(text: str) -> list[str]:
    """One status or several."""
    names = text.split(",")
    if set(names) <= set(ENDED):
        return names
    raise argparse.ArgumentTypeError("must be completed, failed or cancelled, or several of them with commas between.")


def run(connection: Connection, args: argparse.Namespace) -> int:
    """Delete, and say how much."""
    if args.limit is not None and args.limit < 1:
        raise UsageError("--limit must be a whole number from 1 on.")
    [limit] = connection.execute(query("sweep_limit"), {"seconds": args.older_than.total_seconds()}).fetchall()
    wanted = Wanted(
        limit["before"], args.status or ENDED, args.limit or sys.maxsize, args.with_application_rows, args.dry_run
    )
    purged = asyncio.run(_run(connection, wanted))
    if args.json:
        counts = {name: purged[name] for name in GONE}
        print_json({**counts, "kept": {name: purged[name] for name in KEPT}, "dry_run": args.dry_run})
    else:
        tell(purged, dry_run=args.dry_run)
    return 0


async def _run(connection: Connection, wanted: Wanted) -> Counter[str]:
    purged: Counter[str] = Counter()
    storage = open_storage(load_settings())
    try:
        with console(error=True).status("Looking for jobs.") as status:
            async for purged in purge(storage, connection, wanted):
                status.update(f"{amount(purged, 'job')}, {amount(purged, 'object')}, {decimal(purged['bytes'])} so far")
    finally:
        await storage.close()
    return purged


def amount(counts: Counter[str], noun: str, name: str | None = None) -> str:
    """`3 jobs`."""
    count = counts[name or f"{noun}s"]
    return f"{count} {noun}{'' if count == 1 else 's'}"


def tell(purged: Counter[str], *, dry_run: bool) -> None:
    """What is gone, and what stayed and why."""
    rows = f"{amount(purged, 'job')} with {amount(purged, 'image')} and {amount(purged, 'video')}"
    gone = f"{rows}, and {amount(purged, 'object')} in the storage, {decimal(purged['bytes'])}"
    print(f"Would delete {gone}; nothing was changed." if dry_run else f"Deleted {gone}.")
    for name, reason in KEPT.items():
        if purged[name]:
            print(f"Kept {amount(purged, 'job', name)}: {reason}")
