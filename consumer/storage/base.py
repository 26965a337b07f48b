"""The contract between delivery and a storage."""

from typing import Protocol


class Storage(Protocol):
    """Takes bytes under a key of one bucket. Keys are `{user_id}/{job_id}/{index}.png` and the like."""

    bucket: str

    async def upload(self, key: str, data: bytes, content_type: str) -> None:
        """Store `data` under `key`, replacing what is there; either all of it is there afterwards or nothing.

        Raises StorageUnavailableError (try again), StorageUnusableError (this worker can store nothing) or
        StorageRefusedError (never these bytes)."""

    async def close(self) -> None:
        """Let go of connections."""
