"""Whether the worker on this machine is alive, by the file that it writes (CONSUMER_HEALTH_FILE); 1 if it is not."""

import argparse

from consumer.errors import UsageError
from consumer.health import verdict
from consumer.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options: the setting says it all."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001
    """Print one line; 0 where the worker is loading, ready or draining, else 1."""
    path = load_settings().health_file
    if path is None:
        raise UsageError("CONSUMER_HEALTH_FILE is not set: set it for `consumer run` and for `consumer health` alike.")
    alive, line = verdict(path)
    print(line)
    return 0 if alive else 1
