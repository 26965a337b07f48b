"""Deleting jobs that ended long ago: their rows, and what they left in the storage.

A few jobs at a time, each few in one short transaction: their rows are held and deleted, then their objects removed,
then it is committed. Whatever refuses does so before an object is gone; and if it breaks off after that, the rows are
still there, and the next run finds them. Nobody is waited for: a job that somebody holds is left for the next run.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from uuid import UUID

import psycopg

from consumer.ended import Row, Wanted, named_elsewhere, referring_rows, walk
from consumer.errors import StorageUnavailableError, UsageError
from consumer.statements import query
from consumer.storage.base import Storage, StoredObject
from consumer.storage.local import LocalStorage
from consumer.unrecorded import KEY, REMOVE, Connection, answer

BATCH = 100
"""Jobs whose objects are looked up before some of them are deleted."""

LISTINGS = 8
"""Folders that are listed at once."""

HOLD_SECONDS = 10
"""How long rows are held at most while the storage removes objects."""

Objects = dict[UUID, list[StoredObject]]


async def purge(storage: Storage, connection: Connection, wanted: Wanted) -> AsyncIterator[Counter[str]]:
    """Delete jobs; yields after each batch how much is gone (jobs, images, videos, objects, bytes), and how many jobs
    stayed: application (the application has rows of its own there), referred (another row refers to it, or names one
    of its objects), held (somebody holds it or changed it meanwhile).

    Raises UsageError where the storage is not the one beside this database, or the database will not delete."""
    purged: Counter[str] = Counter()
    kept: dict[UUID, str] | None = None
    referring = list(referring_rows(connection, wanted))
    for ended in walk(connection, wanted):
        kept = named_elsewhere(connection, wanted) if kept is None else kept
        while ended and (room := wanted.limit - purged["jobs"]):
            batch = ended[: min(BATCH, room)]
            del ended[: len(batch)]
            purged.update(kept[job["id"]] for job in batch if job["id"] in kept)
            objects = await listed(storage, [job for job in batch if job["id"] not in kept])
            check_same_project(storage, connection, objects)
            for few in portions(objects):
                purged += await _delete(storage, connection, wanted, few, referring)
            yield purged
        if purged["jobs"] >= wanted.limit:
            return


async def listed(storage: Storage, jobs: Sequence[Row]) -> Objects:
    """What a worker stored for each of these jobs. Files of other names in their folders are the application's."""
    several = asyncio.Semaphore(LISTINGS)

    async def of(job: Row) -> list[StoredObject]:
        async with several:
            return [each async for each in storage.ls(f"{job['user_id']}/{job['id']}") if KEY.fullmatch(each.key)]

    return dict(zip([job["id"] for job in jobs], await asyncio.gather(*map(of, jobs)), strict=True))


def check_same_project(storage: Storage, connection: Connection, objects: Objects) -> None:
    """Raise UsageError where these objects are not of the storage beside the database: rows would go and their objects
    stay for ever, or those of another project would go."""
    local = isinstance(storage, LocalStorage)
    if answer(connection, "sees_objects"):
        keys = [each.key for of_job in objects.values() for each in of_job]
        parameters = {"bucket": storage.bucket, "keys": keys, "job_ids": list(objects)}
        [found] = connection.execute(query("compare_objects"), parameters).fetchall()
        if found["more"] or (keys and not found["known"] and not local):
            raise UsageError(
                "The storage in the settings is not the one beside this database: set SUPABASE_URL and "
                "SUPABASE_SECRET_KEY of the project that DATABASE_URL names. Nothing more was deleted."
            )
    elif not local:
        raise UsageError(
            "The role in DATABASE_URL must be one that may read storage.objects, as postgres may: "
            "so it is seen that the database and the storage are of one project."
        )
    if isinstance(storage, LocalStorage) and objects and not (storage.root / storage.bucket).is_dir():
        raise UsageError(
            f"CONSUMER_STORAGE_DIR has no folder {storage.bucket}, so it is not where this database's results are. "
            "Nothing more was deleted."
        )


def portions(objects: Objects) -> Iterator[Objects]:
    """The jobs in portions that the storage can remove at one request: so long are their rows held."""
    few: Objects = {}
    for job_id, of_job in objects.items():
        if few and sum(map(len, few.values())) + len(of_job) > REMOVE:
            yield few
            few = {}
        few[job_id] = of_job
    if few:
        yield few


async def _delete(
    storage: Storage, connection: Connection, wanted: Wanted, objects: Objects, referring: Sequence[str]
) -> Counter[str]:
    """Delete those of a few jobs that may go, rows and objects; returns what went and what stayed."""
    try:
        with connection.transaction(force_rollback=wanted.dry_run):
            connection.execute("set local lock_timeout = '1s'")
            gone, going = _hold(connection, wanted, list(objects), referring)
            of_them = [each for job_id in going for each in objects[job_id]]
            gone += Counter(objects=len(of_them), bytes=sum(each.size for each in of_them))
            if going and not wanted.dry_run:
                _delete_rows(connection, wanted, going)
                await _remove(storage, [each.key for each in of_them])
    except psycopg.errors.LockNotAvailable:
        return Counter(held=len(objects))
    except (psycopg.errors.RaiseException, psycopg.IntegrityError) as error:
        raise UsageError(f"The database will not delete a job: {error.diag.message_primary}") from None
    return gone


def _hold(
    connection: Connection, wanted: Wanted, job_ids: list[UUID], referring: Sequence[str]
) -> tuple[Counter[str], list[UUID]]:
    """Hold those of these jobs that may go, and their rows: what goes and what stays, and which jobs go."""
    parameters = {"job_ids": job_ids, "before": wanted.before, "statuses": list(wanted.statuses)}
    held = {"job_ids": [row["id"] for row in connection.execute(query("hold_ended_jobs"), parameters)]}
    rows = {row["job_id"]: row for row in connection.execute(query("hold_rows"), held)}
    # Looked up once they are held: from now on nothing can come to refer to them.
    referred = {row["id"] for statement in referring for row in connection.execute(statement.encode(), held)}
    counts, going = Counter(held=len(job_ids) - len(held["job_ids"])), []
    for job_id in held["job_ids"]:
        of_job = rows.get(job_id, {"application": False, "held": False, "images": 0, "videos": 0})
        if of_job["application"] and not wanted.application_rows:
            counts["application"] += 1
        elif job_id in referred:
            counts["referred"] += 1
        elif of_job["held"]:
            counts["held"] += 1
        else:
            counts += Counter(jobs=1, images=of_job["images"], videos=of_job["videos"])
            going.append(job_id)
    return counts, going


def _delete_rows(connection: Connection, wanted: Wanted, job_ids: list[UUID]) -> None:
    if wanted.application_rows and answer(connection, "has_workspace_assets"):
        connection.execute(query("delete_workspace_assets"), {"job_ids": job_ids})
    if connection.execute(query("delete_jobs"), {"job_ids": job_ids}).rowcount != len(job_ids):
        raise UsageError("A trigger or a policy on jobs kept rows from being deleted; they and their objects stay.")
    # What a deferred constraint would refuse at the commit, it refuses now.
    connection.execute("set constraints all immediate")


async def _remove(storage: Storage, keys: Sequence[str]) -> None:
    try:
        async with asyncio.timeout(HOLD_SECONDS):
            await storage.remove(keys)
    except TimeoutError:
        raise StorageUnavailableError(
            f"The storage took longer than {HOLD_SECONDS} seconds to remove objects; run this again later."
        ) from None
