"""What the demo shows at its end: a table, a contact sheet, a gallery, and where they are."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from consumer.cli.bars import title
from consumer.cli.demo.folder import Folder
from consumer.cli.demo.gallery import Picture, contact_sheet, page
from consumer.cli.terminal import coloured, size, table
from consumer.client import AssetView, JobView
from consumer.job import Medium, Status
from consumer.storage.local import LocalStorage

BUCKET = "workspace-temp"


def report(out: Console, jobs: Sequence[JobView], folder: Folder, by: str, note: str, started: float) -> int:
    """Show what has become of the jobs; 0 when all of them were completed, else 1."""
    storage = LocalStorage(folder.storage, BUCKET)
    rows = table("job", "index", "status", "seed", "size", "file", right=("index", "seed"))
    pictures = []
    for job in jobs:
        for asset in job.assets:
            picture = picture_of(job, asset, storage)
            pictures.append(picture)
            cells = (str(job.id)[:8], str(asset.index), coloured(asset.status), str(asset.seed or "-"), size(asset))
            rows.add_row(*cells, link(out, picture.file, folder.storage) if picture.file else "-")
    out.print(rows)
    if any(picture.file for picture in pictures):
        contact_sheet(pictures, folder.sheet)
    seconds = time.monotonic() - started
    what = f"{counted(jobs)} of {len(jobs)} job{'s' * (len(jobs) != 1)}"
    page(pictures, folder.page, what, f"made by {by} in {seconds:.1f} seconds, all told. {note}")
    out.print(f"[bold]{what} in {seconds:.1f} seconds.[/] Look at them:\n")
    for file in (folder.page, folder.sheet):
        if file.exists():
            out.print(f"  {link(out, file)}")
    if note:
        out.print(f"\n{note}")
    return verdict(out, jobs, folder)


def counted(jobs: Sequence[JobView]) -> str:
    """`5 pictures and 1 video`: what there is to look at."""
    media = Counter(asset.medium for job in jobs for asset in job.assets if asset.status == Status.completed)
    words = {Medium.image: "picture", Medium.video: "video"}
    parts = [f"{media[kind]} {word}{'s' * (media[kind] != 1)}" for kind, word in words.items() if media[kind]]
    return " and ".join(parts) or "Nothing"


def verdict(out: Console, jobs: Sequence[JobView], folder: Folder) -> int:
    """The exit code, and what is next: the reason of a failure, or the way to one's own database."""
    failures = [job for job in jobs if job.status != Status.completed]
    if failures:
        sys.stdout.flush()
        for job in failures:
            print(f"The job {job.id} is {job.outcome}", file=sys.stderr)
        print(f"The worker's log is {folder.log}", file=sys.stderr)
        return 1
    out.print(
        "\nNext, with a database of yours: set DATABASE_URL, then `consumer migrate up` and `consumer run`; "
        "README.md tells more."
    )
    return 0


def picture_of(job: JobView, asset: AssetView, storage: LocalStorage) -> Picture:
    """One asset, with its files where it has any."""
    done = asset.status == Status.completed and asset.url is not None
    return Picture(
        title=title(job, asset),
        prompt=job.prompt or "",
        status=asset.status,
        seed=asset.seed,
        width=asset.width or 1,
        height=asset.height or 1,
        file=storage.path(asset.url) if done and asset.url else None,
        thumbnail=storage.path(asset.thumbnail_url) if done and asset.thumbnail_url else None,
        reason=asset.error_message or job.error_message or "",
    )


def link(out: Console, file: Path, below: Path | None = None) -> str:
    """A path to click on; of one `below` the storage, a terminal shows only how the names begin."""
    if not out.is_terminal or below is None:
        shown = str(file)
    else:
        *folders, name = file.relative_to(below).parts
        shown = "/".join([*(folder if folder == BUCKET else folder[:8] + ".." for folder in folders[1:]), name])
    return f"[link={file.as_uri()}]{escape(shown)}[/link]"
