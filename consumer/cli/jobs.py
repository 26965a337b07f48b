"""Look at jobs, put a failed one back in line, cancel one, unpark those from before the queue was there, purge.

An ID may be shortened to 6 characters or more.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from rich.markup import escape

from consumer import client
from consumer.cli import purge, unpark
from consumer.cli.terminal import ago, coloured, console, print_json, size, table
from consumer.client import Connection, find, operator
from consumer.errors import UsageError
from consumer.job import Status
from consumer.settings import load_settings
from consumer.statements import query

SHORT = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer jobs`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="the newest jobs")
    listed.add_argument("--status", choices=[status.value for status in Status], help="only those with this status")
    listed.add_argument("--parked", action="store_true", help="only those that were there before the queue, and wait")
    listed.add_argument("--user", metavar="UUID", help="only those of this user")
    listed.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default: 20)")
    listed.add_argument("--json", action="store_true", help="print a JSON array")
    show = actions.add_parser("show", help="one job, its images or videos, and its errors")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    for action, text in (("retry", "put a failed or cancelled job back in line"), ("cancel", "end a job")):
        actions.add_parser(action, help=text).add_argument("id", metavar="ID")
    unpark.add_arguments(
        actions.add_parser("unpark", help="put jobs in line that were queued before the queue was there")
    )
    purge.add_arguments(actions.add_parser("purge", help="delete jobs that ended long ago, and their objects"))


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` names."""
    act: Mapping[str, Callable[[Connection, argparse.Namespace], int]] = {
        "list": _list, "show": _show, "retry": _retry, "cancel": _cancel, "unpark": unpark.run,
        "purge": purge.run,
    }  # fmt: skip
    with operator(load_settings().require_database_url()) as connection:
        return act[args.action](connection, args)


def _list(connection: Connection, args: argparse.Namespace) -> int:
    if not 1 <= args.limit <= 10_000:
        raise UsageError("--limit must be a whole number from 1 to 10000.")
    wanted = {"status": args.status, "user_id": _uuid(args.user), "parked": args.parked, "limit": args.limit}
    jobs = connection.execute(query("list_jobs"), wanted).fetchall()
    if args.json:
        print_json(jobs)
        return 0
    out = console()
    if not jobs:
        out.print("No parked jobs." if args.parked else "No jobs.")
        return 0
    rows = table("job", "type", "status", "done", "attempts", "created", "user", "error", right=("done", "attempts"))
    for job in jobs:
        rows.add_row(
            str(job["id"])[:SHORT], escape(job["job_type"] or "-"), coloured(job["status"]),
            f"{job['done']}/{job['assets']}", str(job["attempts"]), ago(job["created_at"]),
            str(job["user_id"])[:SHORT], escape(job["error_message"] or ""),
        )  # fmt: skip
    out.print(rows)
    if args.parked or any(job["engine"] is None for job in jobs):
        out.print(unpark.told(connection), end="")
    if not args.parked:
        _unserved(connection, jobs)
    return 0


def _unserved(connection: Connection, jobs: list[dict[str, Any]]) -> None:
    out = console()
    for waiting in connection.execute(query("unserved_jobs"), {"job_ids": [job["id"] for job in jobs]}):
        what = f"{waiting['jobs']} queued {waiting['job_type']}"
        if waiting["engine"] is None:
            out.print(
                f"{what}: the queue does not know this job type and leaves it alone; see `consumer job-types list`."
            )
        else:
            out.print(f"{what}: no live worker serves them; `consumer run` starts one.")


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text is not None else None
    except ValueError:
        raise UsageError(f"--user must be a UUID; {text!r} is not.") from None


def _show(connection: Connection, args: argparse.Namespace) -> int:
    job_id = find(connection, args.id)
    [job] = connection.execute(query("show_job"), {"job_id": job_id}).fetchall()
    [view] = client.read(connection, [job_id])
    if args.json:
        print_json(job | {"assets": [asdict(asset) for asset in view.assets]})
        return 0
    out = console()
    facts = table("", "")
    facts.show_header = False
    for name, value in job.items():
        if name not in ("errors", "status") and value is not None:
            facts.add_row(name, escape(value.isoformat(" ", "seconds") if hasattr(value, "isoformat") else str(value)))
        elif name == "status":
            facts.add_row(name, coloured(value))
    out.print(facts)
    out.print(assets_table(view))
    if job["errors"]:
        out.print(errors_table(job["errors"]))
    return 0


def assets_table(job: client.JobView) -> Any:
    """The images or videos of a job."""
    rows = table("index", "status", "progress", "seed", "size", "path", "error", right=("index", "progress", "seed"))
    for asset in job.assets:
        rows.add_row(
            str(asset.index), coloured(asset.status), f"{asset.progress or 0}%", str(asset.seed or "-"),
            size(asset), escape(asset.url or "-"), escape(asset.error_message or ""),
        )  # fmt: skip
    return rows


def errors_table(errors: list[dict[str, Any]]) -> Any:
    """What went wrong, attempt by attempt; the traceback is in `--json` only."""
    rows = table("attempt", "at", "worker", "error", "message", right=("attempt",))
    for error in errors:
        cells = [str(error.get(name) or "-") for name in ("attempt", "at", "worker", "type", "message")]
        rows.add_row(cells[0], cells[1][:19].replace("T", " "), cells[2][:SHORT], escape(cells[3]), escape(cells[4]))
    return rows


def _retry(connection: Connection, args: argparse.Namespace) -> int:
    return _ask(connection, args.id, "retry", Status.queued, "only a failed or cancelled job can be retried")


def _cancel(connection: Connection, args: argparse.Namespace) -> int:
    return _ask(connection, args.id, "cancel", Status.cancelled, "it has ended, so there is nothing to cancel")


def _ask(connection: Connection, text: str, what: str, wanted: Status, otherwise: str) -> int:
    job_id = find(connection, text)
    [before] = connection.execute(query("read_status"), {"job_id": job_id}).fetchall()
    status = client.ask(connection, what, job_id)
    if status == wanted and before["status"] != wanted:
        print(f"The job {job_id} is {wanted}.")
        return 0
    print(f"The job {job_id} is {status}: {otherwise}.", file=sys.stderr)
    return 1
