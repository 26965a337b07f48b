"""Objects in the storage that no row tells of: what a worker left that died between an upload and its row, or what a
deleted job left.

Only keys of the form that a worker writes are looked at. Everything else in the bucket is the application's.
"""

import json
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TextIO
from uuid import UUID

import psycopg

from consumer.errors import UsageError
from consumer.statements import query
from consumer.storage.base import Storage, StoredObject
from consumer.storage.local import LocalStorage

ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
KIND = "(?:png|mp4|thumb[.]webp)"

FORM = f"{ID}/{ID}/(?:0|[1-9][0-9]{{0,3}})[.]{KIND}"
"""{user_id}/{job_id}/{index}.png and the like, for Python and for Postgres."""

ROUGH = f"[0-9a-f-]+/[0-9a-f-]+/[0-9]+[.]{KIND}"
"""Finds at least what FORM finds, several times faster in the long texts of many rows."""

KEY = re.compile(FORM)

LOOK_UP = 1_000
"""Objects whose own jobs are looked up at once, by index."""

SCAN = 20_000
"""Objects that are looked for at once in every row, which reads the tables whole."""

REMOVE = 100
"""Objects that are removed at once, while their jobs are held."""

Connection = psycopg.Connection[dict[str, Any]]


async def sweep(
    storage: Storage, connection: Connection, older_than: timedelta, user: UUID | None = None, *, delete: bool = False
) -> AsyncIterator[StoredObject]:
    """What no row tells of, of all users or of one; with `delete`, removed by the time that it is yielded.

    Left out is what is younger than `older_than` by the database's clock, and what belongs to a job that is queued or
    processing. Raises UsageError where `delete` would compare the bucket with the database of another project."""
    found = unrecorded(storage, connection, older_than, user)
    if not delete:
        async for some in found:
            for each in some:
                yield each
        return
    # All is listed before the first is removed, for that would hide others; in a file, for there may be many.
    with tempfile.TemporaryFile("w+") as file:
        async for some in found:
            write(file, some)
        file.seek(0)
        if not isinstance(storage, LocalStorage):
            check_same_project(connection, storage.bucket, read(file, LOOK_UP))
            file.seek(0)
        while some := read(file, SCAN):
            async for each in remove(storage, connection, some):
                yield each


async def unrecorded(
    storage: Storage, connection: Connection, older_than: timedelta, user: UUID | None
) -> AsyncIterator[list[StoredObject]]:
    """What `sweep` is about, in lists of at most SCAN."""
    [limit] = connection.execute(query("sweep_limit"), {"seconds": older_than.total_seconds()}).fetchall()
    listed: list[StoredObject] = []
    doubtful: list[StoredObject] = []
    async for found in storage.ls(str(user) if user else ""):
        if KEY.fullmatch(found.key) and found.created_at < limit["before"]:
            listed.append(found)
        if len(listed) == LOOK_UP:
            doubtful += left_behind(connection, listed)
            listed = []
        if len(doubtful) > SCAN - LOOK_UP:
            yield untold(connection, doubtful)
            doubtful = []
    yield untold(connection, doubtful + left_behind(connection, listed))


async def remove(
    storage: Storage, connection: Connection, objects: Sequence[StoredObject]
) -> AsyncIterator[StoredObject]:
    """Delete those of `objects` that still no row tells of; yields each that is gone.

    Their jobs are held meanwhile: one that its user retries waits, and then makes its own anew."""
    still = untold(connection, objects)
    for start in range(0, len(still), REMOVE):
        some = still[start : start + REMOVE]
        with connection.transaction():
            connection.execute(query("hold_jobs"), {"job_ids": [job_of(each.key) for each in some]})
            going = {each.key: each for each in left_behind(connection, some)}
            gone = await storage.remove(list(going)) if going else []
        for key in gone:
            yield going[key]


def check_same_project(connection: Connection, bucket: str, objects: Sequence[StoredObject]) -> None:
    """Raise UsageError unless `objects` are in the storage beside this database: to another project's database,
    nothing in the bucket would look recorded."""
    if not objects:
        return
    if not answer(connection, "sees_objects"):
        raise UsageError(
            "--delete needs a role in DATABASE_URL that may read storage.objects, as postgres may: "
            "so it sees that the database and the storage are of one project. Nothing was removed."
        )
    if not answer(connection, "has_objects", bucket=bucket, keys=[each.key for each in objects]):
        raise UsageError(
            "DATABASE_URL and SUPABASE_URL are not of one project: this database knows none of these objects. "
            "Nothing was removed."
        )


def own(connection: Connection, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each key of ours: `told`, whether a row of its job tells of it; `live`, whether that job waits or runs."""
    parameters = {"keys": list(keys), "job_ids": [job_of(key) for key in keys]}
    return {row["key"]: row for row in connection.execute(query("own_objects"), parameters)}


def left_behind(connection: Connection, objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Those that no row of their job tells of, while that job neither waits nor runs."""
    rows = own(connection, [each.key for each in objects])
    return [each for each in objects if not rows[each.key]["told"] and not rows[each.key]["live"]]


def untold(connection: Connection, objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Those that no row at all tells of, whosesoever it is."""
    if not objects:
        return []
    names = ["told_objects"]
    if answer(connection, "has_workspace_assets"):
        names.append("told_workspace_assets")
    wanted = {"keys": [each.key for each in objects], "rough": ROUGH, "form": FORM}
    with connection.transaction():
        # The role postgres of Supabase has two minutes, and large tables take longer.
        connection.execute("set local statement_timeout = 0")
        told = {row["key"] for name in names for row in connection.execute(query(name), wanted)}
    return [each for each in objects if each.key not in told]


def job_of(key: str) -> UUID:
    """The job in a key of ours."""
    return UUID(key.split("/")[1])


def answer(connection: Connection, question: str, **parameters: Any) -> bool:
    """What a statement with one row and the column `answer` says."""
    [row] = connection.execute(query(question), parameters).fetchall()
    return bool(row["answer"])


def write(file: TextIO, objects: Sequence[StoredObject]) -> None:
    """Objects as lines."""
    for each in objects:
        file.write(json.dumps([each.key, each.size, each.created_at.isoformat()]) + "\n")


def read(file: TextIO, most: int) -> list[StoredObject]:
    """The next lines, at most so many, as objects."""
    rows = map(json.loads, islice(file, most))
    return [StoredObject(key, size, datetime.fromisoformat(created_at)) for key, size, created_at in rows]
