"""What a run leaves behind: rows, objects and published changes, and what was done to whom."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from decoding import Change, Publication
from plan import UPLOAD_SECONDS, Order
from postgres import Database
from stand_in import BUCKET, StorageServer

Row = dict[str, Any]
MAX_ATTEMPTS = 3


class Record(Publication):
    """The changes since this was made, on a slot that outlives crashes of the server."""

    def __init__(self, db: Database) -> None:
        self.name = "supabase_realtime"
        self.db = db
        self._slot = f"chaos_{uuid4().hex}"
        self._relations = {}
        self._changes: list[Change] = []
        with db.connect() as connection:
            connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (self._slot,))

    def read_all(self) -> list[Change]:
        """Every change so far, in the order of the commits."""
        with self.db.connect() as self._connection:
            self._changes += self.read()
        return list(self._changes)


@dataclass
class Evidence:
    """All that is known after a run."""

    orders: tuple[Order, ...]
    users: list[UUID]
    cancelled: set[UUID]
    repeated: Mapping[UUID, int]
    excused: Mapping[str, set[str]]
    """Why a worker may have lost a job, by its id."""
    unheard: set[str]
    """The workers that could not tell the database that they leave."""
    tried: Mapping[str, float]
    """For how many seconds, at the most, an upload of a job went on in vain, by the job's id."""
    jobs: list[Row]
    images: list[Row]
    videos: list[Row]
    workers: list[Row]
    objects: dict[str, bytes]
    changes: list[Change]


def rows(db: Database) -> dict[str, list[Row]]:
    """Every row that matters."""
    tables = ("public.jobs", "public.images", "public.videos", "consumer.workers")
    with db.connect(row_factory=dict_row) as connection:
        found = {table: connection.execute(f"select * from {table}".encode()).fetchall() for table in tables}
    return {table.partition(".")[2]: of_table for table, of_table in found.items()}


def objects(api: StorageServer | None, folder: Path) -> dict[str, bytes]:
    """Everything in the bucket, by key; what a local storage was still writing is no object."""
    if api:
        with api.lock:
            return {key: stored.data for (bucket, key), stored in api.objects.items() if bucket == BUCKET}
    root = folder / BUCKET
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".part")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def tried(api: StorageServer | None, known: bool) -> dict[str, float]:
    """For how many seconds, at the most, an upload of each job went on, with the pause that would have come next; of a
    local storage that is only `known` to be never in vain."""
    times = defaultdict(list)
    for request in api.seen("POST", f"/object/{BUCKET}/") if api else ():
        times[request.path].append(request.at)
    longest: dict[str, float] = defaultdict(lambda: 0.0 if known else math.inf)
    for path, at in times.items():
        job = path.split("/")[4]
        pause = max(1.0, min(5.0, 0.2 * 2 ** len(at)))
        longest[job] = max(longest[job], at[-1] - at[0] + UPLOAD_SECONDS + pause)
    return longest
