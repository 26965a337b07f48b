"""The local storage: whole files, under the bucket's keys, inside the bucket's folder."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from consumer.errors import StorageRefusedError, StorageUnavailableError, StorageUnusableError, UsageError
from consumer.settings import Settings
from consumer.storage import open_storage
from consumer.storage.local import LocalStorage

KEY = "3f0c/9a1b/0.png"


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path, "workspace-temp")


def upload(storage: LocalStorage, data: bytes, key: str = KEY) -> None:
    asyncio.run(storage.upload(key, data, "image/png"))


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_key_is_a_file_in_the_folder_of_the_bucket(storage, tmp_path):
    upload(storage, b"pixels")
    assert files(tmp_path) == ["workspace-temp/3f0c/9a1b/0.png"]
    assert storage.path(KEY).read_bytes() == b"pixels"


def test_a_second_upload_replaces_the_first(storage, tmp_path):
    upload(storage, b"first, and longer")
    upload(storage, b"second")
    assert storage.path(KEY).read_bytes() == b"second"
    assert files(tmp_path) == ["workspace-temp/3f0c/9a1b/0.png"]


def test_whoever_reads_while_a_file_is_replaced_still_reads_the_old_bytes(storage):
    upload(storage, b"old")
    with storage.path(KEY).open("rb") as reader:
        upload(storage, b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x.png", "a/../../x.png", "a/..", ".", "a/./x", "a//x", "a/", "a\0b"]
)
def test_a_key_that_leaves_the_bucket_is_refused(storage, tmp_path, key):
    with pytest.raises(StorageRefusedError, match="inside the bucket"):
        storage.path(key)
    with pytest.raises(StorageRefusedError, match="inside the bucket"):
        upload(storage, b"x", key)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ENOSPC, StorageUnusableError, "full"),
        (errno.EDQUOT, StorageUnusableError, "full"),
        (errno.EIO, StorageUnavailableError, "could not write"),
        (errno.EACCES, StorageUnusableError, "CONSUMER_STORAGE_DIR"),
        (errno.EROFS, StorageUnusableError, "CONSUMER_STORAGE_DIR"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(storage, tmp_path, monkeypatch, call, code, kind, words):
    upload(storage, b"old")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(kind, match=words) as caught:
        upload(storage, b"new")
    monkeypatch.undo()
    assert str(tmp_path) not in str(caught.value)
    assert files(tmp_path) == ["workspace-temp/3f0c/9a1b/0.png"]
    assert storage.path(KEY).read_bytes() == b"old"


def test_a_file_in_the_place_of_a_folder_makes_the_storage_unavailable(storage, tmp_path):
    (tmp_path / "workspace-temp").write_text("in the way")
    with pytest.raises(StorageUnavailableError):
        upload(storage, b"x")
    assert files(tmp_path) == ["workspace-temp"]


def test_the_event_loop_runs_on_while_a_slow_disk_writes(storage, monkeypatch):
    writing, go_on = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        writing.set()
        assert go_on.wait(30)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(storage.upload(KEY, b"x", "image/png"))
            while not writing.is_set():
                await asyncio.sleep(0)
            assert not storage.path(KEY).exists()
            go_on.set()

    monkeypatch.setattr(os, "fsync", slow)
    asyncio.run(both())
    assert storage.path(KEY).read_bytes() == b"x"


def test_uploads_beside_each_other_all_arrive(storage, tmp_path):
    async def many() -> None:
        await asyncio.gather(*(storage.upload(f"job/{n}.png", bytes([n]) * 999, "image/png") for n in range(50)))

    asyncio.run(many())
    assert len(files(tmp_path)) == 50
    assert all(storage.path(f"job/{n}.png").read_bytes() == bytes([n]) * 999 for n in range(50))


def test_the_settings_choose_the_folder_and_the_bucket(tmp_path):
    storage = open_storage(Settings(storage="local", storage_dir=tmp_path, bucket="mine", _env_file=None))
    assert isinstance(storage, LocalStorage)
    assert (storage.bucket, storage.path("a/0.png")) == ("mine", tmp_path / "mine/a/0.png")


def test_a_storage_that_this_version_lacks_is_refused_with_what_helps():
    settings = Settings(storage="supabase", supabase_url="https://project.supabase.co", _env_file=None)
    with pytest.raises(UsageError, match="CONSUMER_STORAGE=local"):
        open_storage(settings)
