"""The local storage: whole files, under the bucket's keys, inside the bucket's folder."""

import asyncio
import errno
import os
import threading
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumer.errors import StorageRefusedError, StorageUnavailableError, StorageUnusableError
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
        (errno.EIO, StorageUnavailableError, "could not read or write"),
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


def test_a_check_passes_where_a_folder_can_be_made_and_makes_none(storage, tmp_path):
    asyncio.run(storage.check())
    assert list(tmp_path.iterdir()) == []
    upload(storage, b"x")
    asyncio.run(storage.check())


def test_a_check_fails_where_a_file_is_in_the_way(storage, tmp_path):
    (tmp_path / "workspace-temp").write_text("in the way")
    with pytest.raises(StorageUnusableError, match="CONSUMER_STORAGE_DIR"):
        asyncio.run(storage.check())


def test_a_check_fails_where_this_user_may_not_write(storage, tmp_path, monkeypatch):
    # Whoever may do everything runs these tests too.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(StorageUnusableError, match="CONSUMER_STORAGE_DIR"):
        asyncio.run(storage.check())


def test_a_download_is_what_was_uploaded(storage):
    upload(storage, b"pixels")
    assert asyncio.run(storage.download(KEY)) == b"pixels"
    for key in ("3f0c/9a1b/1.png", "3f0c/9a1b", f"{KEY}/deeper"):
        with pytest.raises(StorageRefusedError, match="no such object"):
            asyncio.run(storage.download(key))


def test_a_file_is_shown_by_its_address_for_as_long_as_it_is_there(storage):
    upload(storage, b"pixels", "a b/0.png")
    urls = asyncio.run(storage.sign(["a b/0.png", "a b/1.png", "a b"], 60))
    assert list(urls) == ["a b/0.png"]
    with urllib.request.urlopen(urls["a b/0.png"]) as reply:
        assert reply.read() == b"pixels"


def test_a_listing_has_every_file_below_a_folder_and_no_part(storage, tmp_path):
    async def listed(prefix: str = "") -> list[tuple[str, int]]:
        found = [each async for each in storage.ls(prefix)]
        assert all(abs(datetime.now(UTC) - each.created_at) < timedelta(minutes=5) for each in found)
        return [(each.key, each.size) for each in found]

    assert asyncio.run(listed()) == []
    for key in ("u/j1/0.png", "u/j1/deep/er.png", "u/j10/0.png", "top.png"):
        upload(storage, key.encode(), key)
    (tmp_path / "workspace-temp/u/j1/.0f.part").write_bytes(b"half")
    below = [("u/j1/0.png", 10), ("u/j1/deep/er.png", 16)]
    assert asyncio.run(listed()) == [("top.png", 7), *below, ("u/j10/0.png", 11)]
    assert asyncio.run(listed("u/j1")) == below
    assert asyncio.run(listed("nowhere")) == []


def test_removing_tells_what_was_there(storage, tmp_path):
    upload(storage, b"x", "a/0.png")
    upload(storage, b"x", "a/1.png")
    assert asyncio.run(storage.remove(["a/0.png", "a/2.png", "a"])) == ["a/0.png"]
    assert files(tmp_path) == ["workspace-temp/a/1.png"]
