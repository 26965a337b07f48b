"""Check everything that could fail silently: one line each, ok, or what is wrong and what mends it; then exit 1."""

import argparse
import logging
from collections import Counter

from rich.markup import escape

from consumer.cli.terminal import console, print_json
from consumer.doctor.examine import GROUPS, examine
from consumer.doctor.finding import Finding, Status

COLOURS = {Status.ok: "green", Status.note: "cyan", Status.skip: "yellow", Status.wrong: "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer doctor`."""
    parser.add_argument(
        "--only",
        action="append",
        choices=list(GROUPS),
        metavar="GROUP",
        help=f"one of {', '.join(GROUPS)}; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="leave out the tiny generations")
    parser.add_argument("--json", action="store_true", help="print a JSON array: check, status, message, remedy")


def run(args: argparse.Namespace) -> int:
    """Print the findings as they come."""
    # What the parts that are tried would log is in the lines.
    logging.getLogger("consumer").addHandler(logging.NullHandler())
    found = []
    for finding in examine(args.only or (), quick=args.quick):
        found.append(finding)
        if not args.json:
            console().print(line(finding), soft_wrap=True)
    if args.json:
        fields = ("check", "status", "message", "remedy")
        print_json([{field: getattr(finding, field) for field in fields} for finding in found])
    else:
        counts = Counter(finding.status for finding in found)
        console().print(", ".join(f"{counts[status]} {status}" for status in Status))
    return int(any(finding.status is Status.wrong for finding in found))


def line(finding: Finding) -> str:
    """One finding for people."""
    remedy = f" [bold]->[/] {escape(finding.remedy)}" if finding.remedy else ""
    return f"[{COLOURS[finding.status]}]{finding.status:<5}[/] {finding.check:<25} {escape(finding.message)}{remedy}"
