"""Bring a database to the schema of this version, look at where it is, or print the SQL for review."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from consumer.cli import unpark
from consumer.cli.terminal import print_json
from consumer.client import operator
from consumer.errors import UsageError
from consumer.job_types import load
from consumer.preflight import examine, refuse_if_stopped, stops
from consumer.settings import load_settings
from consumer.statements import HEAD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer migrate`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = actions.add_parser("up", help="migrate up, and write the job types into the database")
    up.add_argument("revision", nargs="?", default="head", help="stop at this revision (default: the newest)")
    down = actions.add_parser("down", help="migrate down to a revision; `base` takes everything out again")
    down.add_argument("revision")
    status = actions.add_parser("status", help="the revision that the database is at, and what is missing")
    status.add_argument("--json", action="store_true")
    sql = actions.add_parser("sql", help="print the SQL without a database")
    sql.add_argument("--down", metavar="REVISION", help="the way back from the newest revision to this one")
    preflight = actions.add_parser("preflight", help="what is there, and what would stop or surprise; reads only")
    preflight.add_argument("--json", action="store_true", help="print one JSON array")
    export = actions.add_parser("export", help="write the SQL as migrations of the Supabase CLI, one file a revision")
    export.add_argument("--to", metavar="DIR", type=Path, default=Path("supabase/migrations"), help="%(default)s")
    export.add_argument("--broadcast", action="store_true", help="with what `consumer migrate broadcast` does")
    export.add_argument("--json", action="store_true", help="print one JSON object a line: file, written")
    broadcast = actions.add_parser("broadcast", help="tell each user by Realtime Broadcast of what changes (optional)")
    broadcast.add_argument("--off", action="store_true", help="take it out again")
    broadcast.add_argument("--sql", action="store_true", help="print the SQL without a database")


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` names."""
    actions = {
        "up": up, "down": down, "status": status, "sql": sql, "preflight": preflight, "export": export,
        "broadcast": broadcast,
    }  # fmt: skip
    return actions[args.action](args)


def up(args: argparse.Namespace) -> int:
    """Migrate up; at the newest revision the job types follow."""
    from consumer import migrate  # noqa: PLC0415 Alembic is needed here only

    settings = load_settings()
    dsn = settings.require_database_url()
    revision = _known(args.revision, migrate.history(), "head")
    refuse_if_stopped(dsn, load(settings.job_types))
    migrate.upgrade(dsn, revision, _tell)
    if migrate.current(dsn) == HEAD:
        count = migrate.push_job_types(dsn, load(settings.job_types).values())
        print(f"At revision {HEAD}, with {count} job types.")
        with operator(dsn) as connection:
            print(unpark.told(connection), end="")
    else:
        print(f"At revision {migrate.current(dsn)}.")
    return 0


def preflight(args: argparse.Namespace) -> int:
    """Look at the database before any DDL; exit code 1 where something stops a migration."""
    settings = load_settings()
    findings = examine(settings.require_database_url(), load(settings.job_types))
    if args.json:
        print_json([asdict(found) for found in findings])
    else:
        for found in findings:
            print(f"{found.level:5}{found.check:13}{found.sentence} {found.remedy or ''}".rstrip())
    return 1 if stops(findings) else 0


def down(args: argparse.Namespace) -> int:
    """Migrate down."""
    from consumer import migrate  # noqa: PLC0415

    dsn = load_settings().require_database_url()
    migrate.downgrade(dsn, _known(args.revision, migrate.history(), "base"), _tell)
    print(f"At revision {migrate.current(dsn) or 'base'}.")
    return 0


def sql(args: argparse.Namespace) -> int:
    """Print the way up with the job types, or the way down."""
    from consumer import migrate  # noqa: PLC0415

    if args.down:
        revision = _known(args.down, migrate.history(), "base")
        print(migrate.offline_sql(f"{HEAD}:{revision}", "down"), end="")
    else:
        print(migrate.offline_sql(), end="")
        print(migrate.job_types_sql(load(load_settings().job_types).values()), end="")
    return 0


def export(args: argparse.Namespace) -> int:
    """Write what is not there yet, and print one line per file."""
    from consumer.export import export as write  # noqa: PLC0415

    for file in write(args.to, load(load_settings().job_types).values(), broadcast=args.broadcast):
        if args.json:
            print(json.dumps({"file": file.name, "written": file.written}))
        else:
            print(f"{'written' if file.written else 'there  '}  {file.name}")
    return 0


def broadcast(args: argparse.Namespace) -> int:
    """Turn Broadcast on or off, or print how."""
    from consumer import migrate  # noqa: PLC0415

    direction = "down" if args.off else "up"
    if args.sql:
        print(migrate.broadcast_sql(direction), end="")
        return 0
    migrate.broadcast(load_settings().require_database_url(), direction)
    print(
        "Broadcast is off." if args.off else "Broadcast is on: private topics user:{user_id}, events job, image, video."
    )
    return 0


def status(args: argparse.Namespace) -> int:
    """Print which revisions the database has."""
    from consumer import migrate  # noqa: PLC0415

    current, history = migrate.current(load_settings().require_database_url()), migrate.history()
    missing = [number for number, _ in history if current is None or number > current]
    if args.json:
        print(json.dumps({"current": current, "head": HEAD, "missing": missing}))
        return 0
    for number, name in history:
        print(f"{'  ' if number in missing else 'ok'}  {number}  {name}")
    print(f"The database is at revision {current or 'none'}", end="")
    print("; run `consumer migrate up`." if missing else ", the newest.")
    return 0


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _known(revision: str, history: list[tuple[str, str]], word: str) -> str:
    if revision == word or revision in (number for number, _ in history):
        return revision
    raise UsageError(f"There is no revision {revision}; the newest is {HEAD}. See `consumer migrate status`.")
