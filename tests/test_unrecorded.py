"""Objects that no row tells of: which they are, which they are not, and how they go."""

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from consumer import unrecorded
from consumer.errors import StorageUnavailableError, UsageError
from consumer.storage.base import Storage, StoredObject
from consumer.storage.local import LocalStorage
from consumer.storage.supabase import SupabaseStorage
from jobs import Jobs
from postgres import Database, relogin
from stand_in import SECRET_KEY, StorageServer
from stand_in.faults import api_error

DAY = timedelta(hours=24)
BUCKET = "workspace-temp"


class Hooked(LocalStorage):
    """A folder, and something that happens before a removal."""

    removing: Callable[[], None] = staticmethod(lambda: None)

    async def remove(self, keys: Any) -> list[str]:
        self.removing()
        return await super().remove(keys)


@pytest.fixture
def storage(tmp_path: Path) -> Hooked:
    return Hooked(tmp_path, BUCKET)


@pytest.fixture
def jobs(db: Database) -> Jobs:
    return Jobs(db)


def put(storage: LocalStorage, *keys: str, hours: float = 48) -> None:
    """Objects that are there since so many hours."""
    for key in keys:
        asyncio.run(storage.upload(key, b"pixels", "image/png"))
        moment = datetime.now(UTC).timestamp() - hours * 3600
        os.utime(storage.path(key), (moment, moment))


def swept(storage: Storage, jobs: Jobs, older_than: timedelta = DAY, **options: Any) -> list[str]:
    """The keys that the sweep yields, in order of the alphabet."""

    async def main() -> list[str]:
        return [each.key async for each in unrecorded.sweep(storage, jobs.connection, older_than, **options)]

    return sorted(asyncio.run(main()))


def keys(storage: LocalStorage) -> list[str]:
    root = storage.root / storage.bucket
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def folder(jobs: Jobs, job_id: UUID) -> str:
    return f"{jobs.user}/{job_id}"


def ended(jobs: Jobs, status: str = "failed", count: int = 1) -> UUID:
    """A job that has ended, with nothing recorded."""
    job_id = jobs.add(count=count)
    jobs.set(job_id, status=status, queue_at=None)
    return job_id


def record(jobs: Jobs, job_id: UUID, index: int, **columns: Any) -> None:
    jobs.run(
        "update public.images set status = 'completed', image_url = %s, thumbnail_url = %s"
        " where job_id = %s and image_index = %s",
        columns.get("url"), columns.get("thumbnail_url"), job_id, index,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "expected"),
    [("queued", False), ("processing", False), ("completed", True), ("failed", True), ("cancelled", True)],
)
def test_what_a_job_uploaded_and_never_recorded_is_left_behind_once_it_has_ended(storage, jobs, status, expected):
    job_id = ended(jobs, status)
    put(storage, f"{folder(jobs, job_id)}/0.png")
    assert swept(storage, jobs) == ([f"{folder(jobs, job_id)}/0.png"] if expected else [])


def test_a_half_delivered_job_left_what_it_did_not_record(storage, jobs):
    job_id = ended(jobs, count=3)
    where = folder(jobs, job_id)
    put(storage, *(f"{where}/{index}.{kind}" for index in range(3) for kind in ("png", "thumb.webp")))
    record(jobs, job_id, 0, url=f"{where}/0.png", thumbnail_url=f"{where}/0.thumb.webp")
    record(jobs, job_id, 1, url=f"{where}/1.png")
    assert swept(storage, jobs) == [f"{where}/1.thumb.webp", f"{where}/2.png", f"{where}/2.thumb.webp"]


def test_what_a_deleted_job_made_is_left_behind(storage, jobs):
    job_id = ended(jobs, "completed")
    key = f"{folder(jobs, job_id)}/0.png"
    put(storage, key)
    record(jobs, job_id, 0, url=key)
    assert swept(storage, jobs) == []
    jobs.run("delete from public.jobs where id = %s", job_id)
    assert swept(storage, jobs) == [key]


def in_a_video(jobs: Jobs, job_id: UUID, key: str) -> None:
    jobs.insert("videos", {"user_id": jobs.user, "status": "completed", "video_url": key})


def in_a_video_as_thumbnail(jobs: Jobs, job_id: UUID, key: str) -> None:
    jobs.insert("videos", {"user_id": jobs.user, "thumbnail_url": key})


def in_the_jobs_own_list(jobs: Jobs, job_id: UUID, key: str) -> None:
    jobs.run("delete from public.images where job_id = %s", job_id)
    jobs.set(job_id, metadata={"assets": [{"url": "another", "thumbnail_url": key}]})


def in_the_list_of_another_job(jobs: Jobs, job_id: UUID, key: str) -> None:
    jobs.set(jobs.add(), metadata={"assets": [{"url": key}]})


def as_the_reference_of_another_job(jobs: Jobs, job_id: UUID, key: str) -> None:
    jobs.add(metadata={"reference_image_url": key})


def in_an_image_of_another_user(jobs: Jobs, job_id: UUID, key: str) -> None:
    other = jobs.value("insert into auth.users (id, created_at) values (gen_random_uuid(), now()) returning id")
    jobs.insert("images", {"user_id": other, "status": "completed", "image_url": key})


def in_an_address(jobs: Jobs, job_id: UUID, key: str) -> None:
    url = f"https://project.supabase.co/storage/v1/object/sign/workspace-temp/{key}?token=abc"
    jobs.insert("images", {"user_id": jobs.user, "metadata": {"shared": url}})


def in_a_list_of_addresses(jobs: Jobs, job_id: UUID, key: str) -> None:
    jobs.insert("images", {"user_id": jobs.user, "image_urls": [f"{uuid4()}/{uuid4()}/0.png", f"feed-{key}."]})


def in_workspace_assets(jobs: Jobs, job_id: UUID, key: str) -> None:
    jobs.run("create table public.workspace_assets (id uuid, temp_storage_path text, thumbnail_path text)")
    jobs.run("insert into public.workspace_assets values (gen_random_uuid(), 'another', %s)", key)


@pytest.mark.parametrize(
    "tell",
    [
        in_a_video, in_a_video_as_thumbnail, in_the_jobs_own_list, in_the_list_of_another_job,
        as_the_reference_of_another_job, in_an_image_of_another_user, in_an_address, in_a_list_of_addresses,
        in_workspace_assets,
    ],
)  # fmt: skip
def test_an_object_that_any_row_tells_of_is_kept(storage, jobs, tell):
    job_id = ended(jobs)
    kept, left = f"{folder(jobs, job_id)}/0.thumb.webp", f"{folder(jobs, job_id)}/1.mp4"
    put(storage, kept, left)
    tell(jobs, job_id, kept)
    assert swept(storage, jobs, delete=True) == [left]
    assert keys(storage) == [kept]


@pytest.mark.parametrize(
    "key",
    [
        "0.png", "avatars/0.png", "{user}/0.png", "{user}/{job}/0.jpg", "{user}/{job}/00.png", "{user}/{job}/-1.png",
        "{user}/{job}/12345.png", "{user}/{job}/0.thumb.png", "{user}/{job}/0.png.bak", "{user}/{job}/x0.png",
        "{user}/{job}/more/0.png", "more/{user}/{job}/0.png", "x{user}/{job}/0.png", "{USER}/{job}/0.png",
        "{user}/{job}0/0.png", "{user}/not-a-job/0.png", "{user}/{job}/\u0661.png", "{user}/{job}/0.png\n",
    ],
)  # fmt: skip
def test_a_key_of_another_form_is_the_applications(storage, jobs, key):
    job_id = ended(jobs)
    ours = f"{folder(jobs, job_id)}/0.png"
    foreign = key.format(user=jobs.user, job=job_id, USER=str(jobs.user).upper())
    put(storage, ours, foreign)
    assert swept(storage, jobs, delete=True) == [ours]
    assert keys(storage) == [foreign]


def test_what_is_young_by_the_databases_clock_is_left_alone(storage, jobs):
    where = folder(jobs, ended(jobs))
    for index, hours in enumerate((23.9, 24.1, -5)):
        put(storage, f"{where}/{index}.png", hours=hours)
    assert swept(storage, jobs) == [f"{where}/1.png"]
    assert swept(storage, jobs, timedelta(hours=25)) == []
    assert swept(storage, jobs, timedelta(0)) == [f"{where}/0.png", f"{where}/1.png"]


def test_one_users_objects_can_be_swept_alone(storage, jobs, db):
    mine = f"{folder(jobs, ended(jobs))}/0.png"
    other = db.user()
    others = f"{other}/{uuid4()}/0.png"
    put(storage, mine, others)
    assert swept(storage, jobs, user=other, delete=True) == [others]
    assert keys(storage) == [mine]
    assert swept(storage, jobs, user=uuid4()) == []


def test_without_delete_nothing_goes(storage, jobs):
    key = f"{folder(jobs, ended(jobs))}/0.png"
    put(storage, key)
    assert swept(storage, jobs) == swept(storage, jobs) == [key]
    assert keys(storage) == [key]


def retried(jobs: Jobs, job_id: UUID, key: str) -> None:
    assert jobs.value("select public.retry_job(%s)", job_id) == "queued"


def recorded(jobs: Jobs, job_id: UUID, key: str) -> None:
    record(jobs, job_id, 0, url=key)


@pytest.mark.parametrize(
    ("meanwhile", "scan"), [(retried, 9), (recorded, 9), (retried, 1), (in_an_image_of_another_user, 1)]
)
def test_what_happens_after_the_listing_saves_an_object(storage, jobs, db, monkeypatch, meanwhile, scan):
    """All is listed; then, while the first object goes, something happens to the second, or to its job."""
    monkeypatch.setattr(unrecorded, "SCAN", scan)
    monkeypatch.setattr(unrecorded, "REMOVE", 1)
    first, second = sorted((ended(jobs), ended(jobs)))
    left, saved = f"{folder(jobs, first)}/0.png", f"{folder(jobs, second)}/0.png"
    put(storage, left, saved)
    assert swept(storage, jobs) == [left, saved]
    other = Jobs(db)
    storage.removing = lambda: meanwhile(other, second, saved)
    assert swept(storage, jobs, delete=True) == [left]
    assert keys(storage) == [saved]


def test_a_job_cannot_be_retried_in_the_moment_that_its_objects_go(storage, jobs, db):
    job_id = ended(jobs)
    put(storage, f"{folder(jobs, job_id)}/0.png")
    other = db.connect()
    refusals = []

    def retry() -> None:
        other.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
            other.execute("select public.retry_job(%s)", (job_id,))
        refusals.append(refused)

    storage.removing = retry
    assert swept(storage, jobs, delete=True) == [f"{folder(jobs, job_id)}/0.png"]
    assert len(refusals) == 1
    assert other.execute("select public.retry_job(%s)", (job_id,)).fetchone() == ("queued",)


def test_many_objects_are_looked_up_and_removed_in_batches(storage, jobs, monkeypatch):
    for name, size in (("LOOK_UP", 4), ("SCAN", 9), ("REMOVE", 3)):
        monkeypatch.setattr(unrecorded, name, size)
    sizes = []
    storage.removing = lambda: sizes.append(len(keys(storage)))
    job_ids = [ended(jobs, count=3) for _ in range(10)]
    left = sorted(f"{folder(jobs, job_id)}/{index}.png" for job_id in job_ids for index in (0, 2))
    kept = sorted(f"{folder(jobs, job_id)}/1.png" for job_id in job_ids)
    put(storage, *left, *kept)
    for job_id, key in zip(sorted(job_ids), kept, strict=True):
        record(jobs, job_id, 1, url=key)

    async def lists() -> list[int]:
        return [len(some) async for some in unrecorded.unrecorded(storage, jobs.connection, DAY, None)]

    assert all(size <= 9 for size in asyncio.run(lists()))
    assert swept(storage, jobs) == left
    assert swept(storage, jobs, delete=True) == left
    assert keys(storage) == kept
    assert len(sizes) >= 7
    assert all(before - after <= 3 for before, after in pairwise(sizes))


@pytest.fixture
def project(jobs: Jobs) -> Iterator[tuple[StorageServer, Callable[..., None]]]:
    """The storage of a project, and a way to put objects into it that its database knows."""
    with StorageServer() as server:

        def put(*keys: str, hours: float = 48, known: bool = True) -> None:
            for key in keys:
                server.put(key, b"pixels").created_at = datetime.now(UTC) - timedelta(hours=hours)
                if known:
                    jobs.run("insert into storage.objects (bucket_id, name) values (%s, %s)", BUCKET, key)

        yield server, put


def swept_there(server: StorageServer, jobs: Jobs, **options: Any) -> list[str]:
    """The same as `swept`, in a bucket."""

    async def main() -> list[str]:
        storage = SupabaseStorage(server.url, SECRET_KEY, BUCKET, 5)
        try:
            return [each.key async for each in unrecorded.sweep(storage, jobs.connection, DAY, **options)]
        finally:
            await storage.close()

    return sorted(asyncio.run(main()))


def test_a_bucket_is_swept_through_its_api(project, jobs):
    server, put = project
    job_id, running = ended(jobs, count=2), jobs.add()
    where = folder(jobs, job_id)
    left = sorted(f"{folder(jobs, uuid4())}/{index}.png" for index in range(230))
    kept = [f"{where}/0.png", f"{folder(jobs, running)}/0.png", f"{where}/notes.txt", "logo.png"]
    put(*left, *kept)
    put(f"{where}/1.png", hours=1)
    record(jobs, job_id, 0, url=f"{where}/0.png")
    assert swept_there(server, jobs) == left
    assert not server.seen("DELETE")
    assert swept_there(server, jobs, delete=True) == left
    assert {key for _, key in server.objects} == {*kept, f"{where}/1.png"}


def test_the_database_of_another_project_removes_nothing(project, jobs):
    server, put = project
    key = f"{uuid4()}/{uuid4()}/0.png"
    put(key, known=False)
    assert swept_there(server, jobs) == [key]
    with pytest.raises(UsageError, match="DATABASE_URL and SUPABASE_URL are not of one project"):
        swept_there(server, jobs, delete=True)
    assert not server.seen("DELETE")


@pytest.mark.parametrize("role", ["authenticated", "authenticator"])
def test_a_role_that_does_not_see_the_storages_rows_removes_nothing(jobs, db, role):
    """The first may read the table and sees no row of it; the second may not read it."""
    key = f"{uuid4()}/{uuid4()}/0.png"
    jobs.run("insert into storage.objects (bucket_id, name) values (%s, %s)", BUCKET, key)
    blind = db.connect(relogin(db.admin_dsn, user="authenticator"), row_factory=dict_row)
    blind.execute(f"set role {role}")
    stored = [StoredObject(key, 1, datetime.now(UTC))]
    with pytest.raises(UsageError, match=r"a role in DATABASE_URL that may read storage\.objects"):
        unrecorded.check_same_project(blind, BUCKET, stored)
    unrecorded.check_same_project(jobs.connection, BUCKET, stored)


def test_an_empty_bucket_has_nothing_left_behind(project, jobs):
    server, _ = project
    assert swept_there(server, jobs, delete=True) == []


def test_a_storage_that_fails_between_batches_keeps_what_was_not_reached(project, jobs, monkeypatch):
    server, put = project
    monkeypatch.setattr(unrecorded, "REMOVE", 2)
    left = sorted(f"{folder(jobs, uuid4())}/0.png" for _ in range(5))
    put(*left)
    seen = []

    async def main() -> None:
        storage = SupabaseStorage(server.url, SECRET_KEY, BUCKET, 5)
        try:
            async for each in unrecorded.sweep(storage, jobs.connection, DAY, delete=True):
                seen.append(each.key)
                server.fail(api_error("503"), method="DELETE", times=1)
        finally:
            await storage.close()

    with pytest.raises(StorageUnavailableError):
        asyncio.run(main())
    assert sorted({key for _, key in server.objects} | set(seen)) == left
    assert len(seen) == 2
    assert jobs.connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    server.mend()
    assert len(swept_there(server, jobs, delete=True)) == 3
