"""A client of the stand-in's bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.storage.supabase import SupabaseStorage
from stand_in import BUCKET, SECRET_KEY


@asynccontextmanager
async def opened(
    url: str, key: str = SECRET_KEY, bucket: str = BUCKET, seconds: float = 5
) -> AsyncIterator[SupabaseStorage]:
    """A storage at `url`, which is closed at the end."""
    storage = SupabaseStorage(url, key, bucket, seconds)
    try:
        yield storage
    finally:
        await storage.close()
