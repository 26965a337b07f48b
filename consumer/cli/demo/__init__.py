"""Everything on this machine, and nothing needed: a private Postgres, a worker, a few users' jobs, their pictures."""

import argparse
import sys
from pathlib import Path

from consumer.errors import ConsumerError
from consumer.interruption import Interruption


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer demo`."""
    parser.add_argument(
        "--engine",
        choices=("sketch", "sdxl", "wan"),
        default="sketch",
        help="sketch needs no model; sdxl and wan are the real pipelines, with random weights unless "
        "CONSUMER_MODEL_SDXL or CONSUMER_MODEL_WAN is set",
    )
    parser.add_argument("--directory", type=Path, default=Path("demo"), help="where the pictures go (default: demo)")
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="how many jobs, 1 to 100 (default: 3)")


def run(args: argparse.Namespace) -> int:
    """Show it: 0 when every job was completed, 1 when not, 128 + the signal that stopped it."""
    interruption = Interruption()
    try:
        from consumer.cli.demo.story import demo  # noqa: PLC0415 it takes half a second, and Ctrl-C is in good hands now

        return demo(args, interruption)
    except (KeyboardInterrupt, ConsumerError):
        # Ctrl-C goes to the whole group: initdb, which was helping us, may have failed of it.
        if interruption.signal is None:
            raise
        print("Stopped; nothing is left running.", file=sys.stderr)
        return interruption.exit_code
    finally:
        interruption.over(ends=True)
