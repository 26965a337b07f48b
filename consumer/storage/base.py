"""The contract between this system and a storage."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from consumer.errors import StorageRefusedError

PART = 6 * 1024 * 1024
"""The most bytes that go in one request: Supabase takes larger files in parts of this size."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a storage says of one object: its key in the bucket, its size in bytes, and since when it is there."""

    key: str
    size: int
    created_at: datetime


class Storage(Protocol):
    """Takes bytes under a key of one bucket. Keys are `{user_id}/{job_id}/{index}.png` and the like.

    Every method raises StorageUnavailableError (try again) or StorageUnusableError (this bucket, key or folder cannot
    work as it is configured: the sentence names the setting)."""

    bucket: str

    async def check(self) -> None:
        """Return if the bucket is there and may be written to, as far as that can be told without writing."""

    async def upload(self, key: str, data: bytes, content_type: str) -> None:
        """Store `data` under `key`, replacing what is there; either all of it is there afterwards or nothing.

        Cancelling it ends the transfer. Raises StorageRefusedError as well (never these bytes)."""

    async def download(self, key: str, bucket: str | None = None, limit: int | None = None) -> bytes:
        """The bytes of an object, in another bucket of the same place where one is named.

        Raises StorageRefusedError where there is none, where there is no such other bucket, and where it has more
        than `limit` bytes: no more than that is read."""

    async def sign(self, keys: Sequence[str], seconds: int) -> dict[str, str]:
        """For each of `keys` that is there, a URL that shows it for so long to whoever has it."""

    def ls(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Every object whose key begins with the folder `prefix` (no slash at its end), however many there are.

        What is removed meanwhile may hide others: read to the end before you remove."""

    async def remove(self, keys: Sequence[str]) -> list[str]:
        """Delete objects; returns the keys of those that were there."""

    async def close(self) -> None:
        """Let go of connections."""


def check_key(key: str) -> None:
    """Raise StorageRefusedError for a key that leaves the bucket, or that a path cannot hold."""
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise StorageRefusedError("The storage refused a key that does not stay inside the bucket.")


def too_large(limit: int) -> StorageRefusedError:
    """The error for an object of more than `limit` bytes."""
    return StorageRefusedError(f"The object is larger than {limit / 1024**2:g} MiB.")
