"""The worker's own readiness, told to whoever watches the process: a small file, written every few seconds.

It comes out of the worker's event loop, so a loop that is stuck tells nothing; a database that is away is no reason to
restart a worker, and so none to be unhealthy.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from consumer import events
from consumer.errors import UsageError

EVERY_SECONDS = 5.0

State = Literal["starting", "loading", "ready", "draining"]


class Report(BaseModel):
    """What the file tells. `lease_seconds` is the age at which it no longer counts; `deaf` how often LISTEN was;
    `loads` how often each model was read from disk, `moves` how often it was brought to the device."""

    worker_id: UUID
    pid: int
    state: State
    database: str
    listener: str
    storage: str
    jobs_in_hand: int
    found_by: dict[str, int]
    deaf: int
    loads: dict[str, int] = {}
    moves: dict[str, int] = {}
    lease_seconds: float
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        return (datetime.now(UTC) - self.at).total_seconds()


def check(path: Path) -> None:
    """Raise UsageError where no report can be written to `path`."""
    try:
        _beside(path).touch()
        _beside(path).unlink()
    except OSError as error:
        raise UsageError(f"The file of CONSUMER_HEALTH_FILE cannot be written: {error.strerror}.") from None


async def keep(path: Path, report: Callable[[], Report], news: asyncio.Event) -> None:
    """Write `report()` to `path` on `news` and at least four times per lease, for ever, and remove it at the end."""
    written = True
    try:
        while True:
            news.clear()
            told = report()
            try:
                # Whoever reads sees the old one or the new one, and nothing in between.
                _beside(path).write_text(told.model_dump_json())
                _beside(path).replace(path)
                written = True
            except OSError as error:
                if written:
                    events.emit("health.unwritten", level=logging.WARNING, error=events.describe(error))
                written = False
            with suppress(TimeoutError):
                async with asyncio.timeout(min(EVERY_SECONDS, told.lease_seconds / 4)):
                    await news.wait()
    finally:
        _remove(path)


def verdict(path: Path) -> tuple[bool, str]:
    """Whether the worker that writes `path` is alive, and one line about it."""
    try:
        report = Report.model_validate_json(path.read_text())
    except FileNotFoundError:
        return False, "No worker writes the file of CONSUMER_HEALTH_FILE."
    except OSError as error:
        return False, f"The file of CONSUMER_HEALTH_FILE cannot be read: {error.strerror}."
    except (ValidationError, UnicodeDecodeError):
        return False, "The file of CONSUMER_HEALTH_FILE is not a worker's."
    if not _runs(report.pid):
        return False, "The worker is gone: its process has ended."
    if abs(report.age) > report.lease_seconds:
        return False, f"The worker is stuck or gone: it wrote its last report {report.age:.0f} seconds ago."
    parts = f"database {report.database}, listener {report.listener}, storage {report.storage}"
    words = f"{parts}, {report.jobs_in_hand} jobs in hand"
    return report.state != "starting", f"The worker is {report.state}: {words}."


def _runs(pid: int) -> bool:
    # One of another user's may not be signalled, and so is there.
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")
