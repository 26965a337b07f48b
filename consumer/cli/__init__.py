"""The command line: one file per command, each with `add_arguments(parser)` and `run(args) -> exit code`.

Only the file of the command that was asked for is imported, so that each starts with what it needs.

Exit codes: 0 done, 1 failed, 2 usage, 3 engine or storage unusable (please restart), 4 schema too old,
5 database refused.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from consumer import __version__
from consumer.errors import (
    ConsumerError,
    DatabaseRefusedError,
    EngineUnusableError,
    SchemaTooOldError,
    StorageUnusableError,
    UsageError,
)

COMMANDS = {
    "demo": "everything on this machine: submit jobs, watch them, see the pictures",
    "run": "the worker",
    "submit": "insert a job as a frontend would",
    "jobs": "list, show, retry, cancel, unpark, purge jobs",
    "limits": "weights and limits of users: list, set, clear",
    "migrate": "the database's schema: up, down, status, sql, preflight, export, broadcast",
    "engines": "job types, engines and models, and what can be loaded here",
    "job-types": "write the job types of the TOML into the database",
    "storage": "sign and list the objects of a job; find objects that no row tells of",
    "doctor": "check everything that could fail silently, one line each",
    "health": "whether the worker on this machine is alive, for containers",
}

EXIT_CODES: dict[type[ConsumerError], int] = {
    UsageError: 2,
    EngineUnusableError: 3,
    StorageUnusableError: 3,
    SchemaTooOldError: 4,
    DatabaseRefusedError: 5,
}

INTERRUPTED = 130


def parser(asked_for: str | None) -> argparse.ArgumentParser:
    """Every command by name, and the options of the one that was asked for."""
    top = argparse.ArgumentParser(
        prog="consumer", description="A GPU worker for Supabase: a row goes into jobs, pictures come out."
    )
    top.add_argument("--version", action="version", version=f"consumer {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == asked_for:
            module = import_module(f"consumer.cli.{name.replace('-', '_')}")
            command.description = module.__doc__
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake becomes a sentence on stderr, never a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = parser(argv[0] if argv else None).parse_args(argv)
        return int(args.run(args))
    except ConsumerError as error:
        print(error, file=sys.stderr)
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output went away; without this, Python complains once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
