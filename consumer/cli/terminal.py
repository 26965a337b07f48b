"""Output for people and for scripts, the same from every command."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from consumer.client import AssetView

COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "processing": "cyan"}


def console(*, error: bool = False) -> Console:
    """Where people read; where it is no terminal, a line is as long as it needs to be."""
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 1000, highlight=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in `right` are aligned to the right."""
    empty = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        empty.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return empty


def coloured(status: str | None) -> str:
    """A status in its colour."""
    colour = COLOURS.get(status or "")
    return f"[{colour}]{status}[/]" if colour else status or "-"


def size(asset: AssetView) -> str:
    """`1024x576`, or a dash as long as nobody knows."""
    return f"{asset.width}x{asset.height}" if asset.width and asset.height else "-"


def print_json(value: Any) -> None:
    """One JSON value on stdout; times and ids as text."""
    print(json.dumps(value, default=lambda other: other.isoformat() if isinstance(other, datetime) else str(other)))


def ago(moment: datetime | None) -> str:
    """How long ago something was, roughly."""
    if moment is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
