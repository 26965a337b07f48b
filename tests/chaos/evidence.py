"""What a run leaves behind: rows, objects and published changes, and what was done to whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from decoding import Change, Publication
from plan import Order
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
    blamed: frozenset[str]
    """Types of errors that cost an attempt with good reason in a run of this kind, beside those of the orders."""
    jobs: list[Row]
    images: list[Row]
    videos: list[Row]
    workers: list[Row]
    objects: dict[str, bytes]
    changes: list[Change]


def rows(db: Database) -> dict[str, list[Row]]:
    """Every row that matters."""
    tables = {"jobs": "public.jobs", "images": "public.images", "videos": "public.videos", "workers": "consumer.workers"}
    with db.connect(row_factory=dict_row) as connection:
        return {name: connection.execute(f"select * from {table}".encode()).fetchall() for name, table in tables.items()}


def objects(api: StorageServer | None, folder: Path) -> dict[str, bytes]:
    """Everything in the bucket, by key; what a local storage was still writing is no object."""
    if api:
        with api.lock:
            return {key: stored.data for (bucket, key), stored in api.objects.items() if bucket == BUCKET}
    root = folder / BUCKET
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".part")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}
