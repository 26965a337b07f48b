"""The job types of the TOML into the database, where the triggers read them; or what the database has."""

import argparse

from consumer.cli.terminal import ago, console, print_json, table
from consumer.client import operator
from consumer.job_types import load
from consumer.settings import load_settings
from consumer.statements import query


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer job-types`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("push", help="write the built-in job types, and those of CONSUMER_JOB_TYPES, into the database")
    listed = actions.add_parser("list", help="the job types that the database has")
    listed.add_argument("--json", action="store_true", help="print a JSON array")


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` names."""
    settings = load_settings()
    job_types = load(settings.job_types)
    dsn = settings.require_database_url()
    with operator(dsn) as connection:
        if args.action == "push":
            from consumer import migrate  # noqa: PLC0415 Alembic is needed here only

            print(f"Wrote {migrate.push_job_types(dsn, job_types.values())} job types.")
            return 0
        rows = connection.execute(query("list_job_types")).fetchall()
    if args.json:
        print_json(rows)
        return 0
    listed = table(
        "job type", "engine", "medium", "count", "at most", "cost", "pushed", right=("count", "at most", "cost")
    )
    for row in rows:
        listed.add_row(
            row["job_type"], row["engine"], row["medium"], str(row["default_count"]), str(row["max_count"]),
            f"{row['cost']:g}", ago(row["pushed_at"]),
        )  # fmt: skip
    console().print(listed)
    if unpushed := sorted(set(job_types) - {row["job_type"] for row in rows}):
        console().print(f"Not in the database yet: {', '.join(unpushed)}. Run `consumer job-types push`.")
    return 0
