"""A bar for each picture on a terminal; elsewhere a line for each picture that is finished."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from consumer.cli.terminal import coloured
from consumer.client import AssetView, JobView
from consumer.job import Status


class Bars:
    """Shows jobs while the `with` lasts; `show` may be called as often as one likes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            auto_refresh=False,
            disable=not self._live,
        )
        self._tasks: dict[tuple[UUID, int], TaskID] = {}
        self._told: set[tuple[UUID, int]] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, jobs: Sequence[JobView]) -> None:
        """Bring the bars to where these jobs are."""
        for job in jobs:
            for asset in job.assets:
                if self._live:
                    self._move((job.id, asset.index), title(job, asset), asset)
                elif asset.status not in (Status.queued, Status.processing):
                    self._tell((job.id, asset.index), title(job, asset), asset)
        self._progress.refresh()

    def _move(self, key: tuple[UUID, int], name: str, asset: AssetView) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(name, total=100, status="")
        done = 100 if asset.status == Status.completed else asset.progress or 0
        self._progress.update(self._tasks[key], completed=done, status=coloured(asset.status))

    def _tell(self, key: tuple[UUID, int], name: str, asset: AssetView) -> None:
        if key not in self._told:
            self._told.add(key)
            self.console.print(f"{name}  {asset.status}")


def title(job: JobView, asset: AssetView) -> str:
    """`sdxl_image_fast 1/3`: which one, of how many."""
    return f"{job.job_type} {asset.index + 1}/{len(job.assets)}"
