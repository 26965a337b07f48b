"""What users may have of the queue: a weight in the order of service, and how many jobs queued and running at a time.

Without --user it is said for everybody who has nothing set of his own.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from consumer.cli.terminal import console, print_json, table
from consumer.client import Connection, operator
from consumer.errors import UsageError
from consumer.settings import load_settings
from consumer.statements import query

LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0
MOST = 2**31 - 1
NONE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer limits`."""
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", help="without one, what is set is listed")
    change = actions.add_parser("set", help="set some of it; the rest stays as it counts now")
    change.add_argument("--weight", metavar="W", help="share of the service: 2 is twice that of others (0.01 to 100)")
    change.add_argument("--max-queued", metavar="N", help="while so many are queued, further ones are refused; or none")
    change.add_argument("--max-running", metavar="N", help="while so many are running, further ones wait; or none")
    clear = actions.add_parser("clear", help="forget what was set")
    for action in (change, clear):
        action.add_argument("--user", metavar="UUID", help="for this user (default: for everybody)")


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` names."""
    act: Mapping[str, Callable[[Connection, argparse.Namespace], int]] = {"set": _set, "clear": _clear}
    with operator(load_settings().require_database_url()) as connection:
        return act.get(args.action, _list)(connection, args)


def _list(connection: Connection, args: argparse.Namespace) -> int:
    rows = connection.execute(query("list_user_limits")).fetchall()
    if rows or args.json:
        _show(rows, args)
    else:
        print("No limits: every user has the weight 1, and as many jobs as they like.")
    return 0


def _set(connection: Connection, args: argparse.Namespace) -> int:
    wanted = {
        "user_id": _user(args.user),
        "weight": None if args.weight is None else _weight(args.weight),
        "sets_queued": args.max_queued is not None,
        "max_queued": _limit("--max-queued", args.max_queued, 0),
        "sets_running": args.max_running is not None,
        "max_running": _limit("--max-running", args.max_running, 1),
    }
    if args.weight is None and not wanted["sets_queued"] and not wanted["sets_running"]:
        raise UsageError("Say what to set: --weight, --max-queued or --max-running.")
    _show(connection.execute(query("set_user_limits"), wanted).fetchall(), args)
    return 0


def _clear(connection: Connection, args: argparse.Namespace) -> int:
    user = _user(args.user)
    whose = f"the user {user}" if user else "everybody"
    if connection.execute(query("clear_user_limits"), {"user_id": user}).fetchall():
        print(f"Nothing is set for {whose} any longer.")
        return 0
    print(f"Nothing was set for {whose}.", file=sys.stderr)
    return 1


def _show(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    if args.json:
        print_json(rows)
        return
    shown = table("user", "weight", "queued", "running", right=("weight", "queued", "running"))
    for row in rows:
        limits = (NONE if row[name] is None else str(row[name]) for name in ("max_queued", "max_running"))
        shown.add_row(str(row["user_id"] or "everybody"), f"{row['weight']:g}", *limits)
    console().print(shown)


def _user(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise UsageError(f"--user must be a UUID; {text!r} is not.") from None


def _weight(text: str) -> float:
    with suppress(ValueError):
        if LEAST_WEIGHT <= (weight := float(text)) <= MOST_WEIGHT:
            return weight
    raise UsageError(f"--weight must be a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}.")


def _limit(option: str, text: str | None, least: int) -> int | None:
    """The number, or None where there is to be no limit."""
    if text in (None, NONE):
        return None
    with suppress(ValueError):
        if least <= (limit := int(str(text))) <= MOST:
            return limit
    raise UsageError(f"{option} must be a whole number from {least} to {MOST}, or {NONE}.")
