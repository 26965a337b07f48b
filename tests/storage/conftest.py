"""A storage server for each test, and clients of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from bucket_clients import opened
from consumer.storage.supabase import SupabaseStorage
from stand_in import StorageServer

Work = Callable[[SupabaseStorage], Awaitable[Any]]
Using = Callable[..., Any]


@pytest.fixture
def api() -> Iterator[StorageServer]:
    """The storage of a project."""
    with StorageServer() as api:
        yield api


@pytest.fixture
def using(api: StorageServer) -> Using:
    """Run `work` with one client of the storage, and return what it returns."""

    def run(work: Work, **options: Any) -> Any:
        async def main() -> Any:
            async with opened(api.url, **options) as storage:
                return await work(storage)

        return asyncio.run(main())

    return run
