"""Progress as a person at a terminal sees it, and as a file that catches the output does."""

import io
import re
from uuid import uuid4

from rich.console import Console

from consumer.cli.bars import Bars
from consumer.client import AssetView, JobView
from consumer.job import Medium

JOB = uuid4()


def job(*assets: tuple[str, int | None]) -> JobView:
    """A job with an asset for each status and progress."""
    views = tuple(
        AssetView(Medium.image, index, status, progress, 7, None, None, None, None, None, None)
        for index, (status, progress) in enumerate(assets)
    )
    return JobView(JOB, "sketch", "processing", "a lake", None, views)


def shown(*states: JobView, terminal: bool) -> list[str]:
    """The lines that were written, the last ones last; on a terminal they overwrite each other."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80, color_system=None, legacy_windows=False)
    with Bars(console) as bars:
        for state in states:
            bars.show([state])
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", file.getvalue())
    return [line.strip() for line in plain.splitlines() if line.strip()]


def test_a_terminal_shows_a_bar_for_each_picture_where_it_is_now() -> None:
    lines = shown(job(("queued", None), ("queued", None)), job(("completed", 100), ("processing", 40)), terminal=True)
    first, second = lines[-2:]
    assert first.startswith("sketch 1/2")
    assert first.endswith("100% completed")
    assert second.startswith("sketch 2/2")
    assert second.endswith("40% processing")


def test_a_completed_picture_is_full_even_if_its_progress_was_never_told() -> None:
    assert shown(job(("completed", None)), terminal=True)[-1].endswith("100% completed")


def test_a_file_gets_a_line_for_each_picture_that_has_ended_and_once() -> None:
    states = job(("queued", None), ("processing", 40)), job(("failed", 40), ("processing", 80))
    last = job(("failed", 40), ("completed", 100))
    assert shown(*states, last, last, terminal=False) == ["sketch 1/2  failed", "sketch 2/2  completed"]
