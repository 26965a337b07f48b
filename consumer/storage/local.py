"""Files in a folder, under the same keys as in the bucket."""

import asyncio
import errno
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from consumer.errors import StorageRefusedError, StorageUnavailableError, StorageUnusableError

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class LocalStorage:
    """Keeps `key` in the file `root/bucket/key`; a reader sees the old bytes or the new ones, never half."""

    def __init__(self, root: Path, bucket: str) -> None:
        self.root = root
        self.bucket = bucket

    def path(self, key: str) -> Path:
        """The file that holds `key`. Raises StorageRefusedError for a key that leaves the bucket's folder."""
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") for part in parts):
            raise StorageRefusedError("The storage refused a key that does not stay inside the bucket.")
        return self.root.joinpath(self.bucket, *parts)

    async def upload(self, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002 - the suffix says it
        """Store `data` under `key`, replacing what is there; once this returns, the bytes are on the disk.

        Raises StorageUnavailableError or StorageUnusableError, and then leaves what was there before."""
        await asyncio.to_thread(_write, self.path(key), data)

    async def close(self) -> None:
        """Nothing is held open."""


def _write(path: Path, data: bytes) -> None:
    # In the same folder, for a rename is atomic only within one file system.
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise _translated(error) from error
    finally:
        # Where the folder itself is not there or not ours, neither is the file.
        with suppress(OSError):
            part.unlink()


def _translated(error: OSError) -> StorageUnusableError | StorageUnavailableError:
    if error.errno in FORBIDDEN:
        return StorageUnusableError(
            "The local storage may not be written to; let this user write there or set CONSUMER_STORAGE_DIR."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageUnusableError("The local storage is full: make room or set CONSUMER_STORAGE_DIR.")
    return StorageUnavailableError("The local storage could not write the file.")
