"""`consumer jobs unpark`: jobs that were queued before the queue was there are run when somebody says so."""

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from consumer import client
from consumer.client import Connection, find
from consumer.errors import UsageError
from consumer.statements import query

UNITS = {"min": 60, "h": 3600, "d": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer jobs unpark`."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="also one that another worker had begun")
    parser.add_argument("--all", action="store_true", help="all that nobody has begun, oldest first")
    for option in ("--older-than", "--newer-than"):
        parser.add_argument(option, metavar="AGE", help="with --all: only these, such as 30min, 12h or 7d")


def run(connection: Connection, args: argparse.Namespace) -> int:
    """Put the jobs in line one by one; what one of them lacks keeps no other."""
    if bool(args.ids) == args.all:
        raise UsageError("Say which jobs: their IDs, or --all; `consumer jobs list --parked` shows them.")
    if args.ids and (args.older_than or args.newer_than):
        raise UsageError("--older-than and --newer-than go with --all.")
    done = refused = 0
    for job_id in _wanted(connection, args):
        try:
            client.unpark(connection, job_id, begun=not args.all)
        except UsageError as error:
            print(error, file=sys.stderr)
            refused += 1
        else:
            done += 1
            if args.ids:
                print(f"The job {job_id} is queued.")
    if args.all:
        print(f"Jobs put in line: {done}.")
    return 1 if refused else 0


def _wanted(connection: Connection, args: argparse.Namespace) -> Iterator[UUID]:
    if args.ids:
        yield from [find(connection, text) for text in args.ids]
        return
    span = {"before": moment("--older-than", args.older_than), "after": moment("--newer-than", args.newer_than)}
    for row in connection.execute(query("parked_jobs"), span).fetchall():
        yield row["id"]


def moment(option: str, age: str | None) -> datetime | None:
    """The time that is so long ago; raises UsageError."""
    if age is None:
        return None
    found = re.fullmatch(r"(\d{1,6}) ?(min|h|d)", age)
    if not found:
        raise UsageError(f"{option} must be a number of min, h or d, such as 30min, 12h or 7d; {age!r} is not.")
    return datetime.now(UTC) - timedelta(seconds=int(found[1]) * UNITS[found[2]])


def told(connection: Connection) -> str:
    """How many jobs are parked and what to do about it; nothing where there are none."""
    waiting, begun = client.count_parked(connection)
    if not waiting + begun:
        return ""
    rest = f", and {begun} that another worker had begun (by ID only)" if begun else ""
    return (
        f"Parked jobs from before the queue: {waiting}{rest}. `consumer jobs list --parked` shows them, "
        "`consumer jobs unpark ID` or `--all` puts them in line.\n"
    )
