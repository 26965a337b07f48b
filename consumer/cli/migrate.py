"""Bring a database to the schema of this version, look at where it is, or print the SQL for review."""

import argparse
import json

from consumer.errors import UsageError
from consumer.job_types import load
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


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` names."""
    from consumer import migrate  # noqa: PLC0415 Alembic is needed here only

    if args.action == "sql":
        if args.down:
            down = _known(args.down, migrate.history(), "base")
            print(migrate.offline_sql(f"{HEAD}:{down}", "down"), end="")
        else:
            print(migrate.offline_sql(), end="")
            print(migrate.job_types_sql(load(load_settings().job_types).values()), end="")
        return 0
    settings = load_settings()
    dsn = settings.require_database_url()
    if args.action == "status":
        return _status(args, migrate.current(dsn), migrate.history())
    if args.action == "up":
        migrate.upgrade(dsn, _known(args.revision, migrate.history(), "head"))
        if migrate.current(dsn) == HEAD:
            count = migrate.push_job_types(dsn, load(settings.job_types).values())
            print(f"At revision {HEAD}, with {count} job types.")
        else:
            print(f"At revision {migrate.current(dsn)}.")
    else:
        migrate.downgrade(dsn, _known(args.revision, migrate.history(), "base"))
        print(f"At revision {migrate.current(dsn) or 'base'}.")
    return 0


def _known(revision: str, history: list[tuple[str, str]], word: str) -> str:
    if revision == word or revision in (number for number, _ in history):
        return revision
    raise UsageError(f"There is no revision {revision}; the newest is {HEAD}. See `consumer migrate status`.")


def _status(args: argparse.Namespace, current: str | None, history: list[tuple[str, str]]) -> int:
    missing = [number for number, _ in history if current is None or number > current]
    if args.json:
        print(json.dumps({"current": current, "head": HEAD, "missing": missing}))
        return 0
    for number, name in history:
        print(f"{'  ' if number in missing else 'ok'}  {number}  {name}")
    print(f"The database is at revision {current or 'none'}", end="")
    print("; run `consumer migrate up`." if missing else ", the newest.")
    return 0
