"""Files in a folder, under the same keys as in the bucket."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from consumer.errors import StorageRefusedError, StorageUnavailableError, StorageUnusableError
from consumer.storage.base import StoredObject, check_key, too_large

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
NOT_ALLOWED = "The local storage may not be written to; let this user write there or set CONSUMER_STORAGE_DIR."


class LocalStorage:
    """Keeps `key` in the file `root/bucket/key`; a reader sees the old bytes or the new ones, never half."""

    def __init__(self, root: Path, bucket: str) -> None:
        self.root = root
        self.bucket = bucket

    def path(self, key: str, bucket: str | None = None) -> Path:
        """The file that holds `key`. Raises StorageRefusedError for a key that leaves the bucket's folder."""
        check_key(key)
        return self.root.joinpath(bucket or self.bucket, *key.split("/"))

    async def check(self) -> None:
        """Look whether this user may write to the folder, or make it."""
        await asyncio.to_thread(_check, self.root / self.bucket)

    async def upload(self, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002 - the suffix says it
        """Store `data` under `key`, replacing what is there; once this returns, the bytes are on the disk.

        Raises StorageUnavailableError or StorageUnusableError, and then leaves what was there before."""
        await asyncio.to_thread(_write, self.path(key), data)

    async def download(self, key: str, bucket: str | None = None, limit: int | None = None) -> bytes:
        """The bytes of an object. Raises StorageRefusedError where there is none, or more than `limit` bytes."""
        path = self.path(key, bucket)
        with _ours():
            try:
                return await asyncio.to_thread(_read, path, limit)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise StorageRefusedError("The local storage has no such object.") from error

    async def sign(self, keys: Sequence[str], seconds: int) -> dict[str, str]:  # noqa: ARG002 - a file has no end
        """A file: address for each of `keys` that is there. Nothing is signed: it shows the file for as long as it is
        there, to whoever may read it on this machine."""
        return {key: path.resolve().as_uri() for key in keys if (path := self.path(key)).is_file()}

    async def ls(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Every file below the folder `prefix`, in order of their keys."""
        root = self.root / self.bucket
        with _ours():
            found = await asyncio.to_thread(_walk, root, self.path(prefix) if prefix else root)
        for each in found:
            yield each

    async def remove(self, keys: Sequence[str]) -> list[str]:
        """Delete files; returns the keys of those that were there."""
        with _ours():
            return await asyncio.to_thread(lambda: [key for key in keys if _unlink(self.path(key))])

    async def close(self) -> None:
        """Nothing is held open."""


@contextmanager
def _ours() -> Iterator[None]:
    """Errors of the system as errors of the storage."""
    try:
        yield
    except OSError as error:
        raise _translated(error) from error


def _check(folder: Path) -> None:
    with _ours():
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise StorageUnusableError(NOT_ALLOWED)


def _walk(root: Path, folder: Path) -> list[StoredObject]:
    found = []
    for path in sorted(folder.rglob("*")):
        # Files come and go meanwhile; a part is not an object yet.
        with suppress(FileNotFoundError):
            if path.is_file() and not (path.name.startswith(".") and path.suffix == ".part"):
                stat = path.stat()
                changed_at = datetime.fromtimestamp(stat.st_mtime, UTC)
                found.append(StoredObject(path.relative_to(root).as_posix(), stat.st_size, changed_at))
    return found


def _unlink(path: Path) -> bool:
    if path.is_file():
        with suppress(FileNotFoundError):
            path.unlink()
            return True
    return False


def _read(path: Path, limit: int | None) -> bytes:
    with path.open("rb") as file:
        data = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(data) > limit:
        raise too_large(limit)
    return data


def _write(path: Path, data: bytes) -> None:
    # In the same folder, for a rename is atomic only within one file system.
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        with _ours():
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        # Where the folder itself is not there or not ours, neither is the file.
        with suppress(OSError):
            part.unlink()


def _translated(error: OSError) -> StorageUnusableError | StorageUnavailableError:
    if error.errno in FORBIDDEN:
        return StorageUnusableError(NOT_ALLOWED)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageUnusableError("The local storage is full: make room or set CONSUMER_STORAGE_DIR.")
    return StorageUnavailableError("The local storage could not read or write a file.")
