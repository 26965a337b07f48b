"""A bucket of a Supabase project.

The client is the asynchronous one, for a task that is cancelled ends its transfer, and a thread does not. It speaks
HTTP/1.1: over HTTP/2, uploads side by side fail, and large ones take a time that grows with the square of their size.
"""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from io import BufferedReader, BytesIO
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from storage3.types import CreateSignedUploadUrlOptions, FileOptions
from supabase import AsyncClient, AsyncClientOptions
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from consumer.errors import ConsumerError, StorageRefusedError, StorageUnavailableError
from consumer.storage.base import PART, StoredObject, check_key, too_large
from consumer.storage.replies import NO_BUCKET, meaning, seconds_of, told, translated
from consumer.storage.resumable import CACHE_SECONDS, Resumable

CONNECTIONS = 16
CONNECT_SECONDS = 10.0
PAGE = 100
"""Names in one request: the storage's own page."""

LONG = 60_000
"""A refused upload of more bytes than this may be left unread, and then the next request on its connection hangs."""

CUT_OFF = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)

PROBE = ".consumer/probe"


class SupabaseStorage:
    """One bucket, written to with a secret key (`sb_secret_...` or the JWT of service_role, the same to us)."""

    def __init__(self, url: str, key: str, bucket: str, seconds: float = 20.0) -> None:
        """`seconds` is how long a connection may stand still. Raises ValueError for a `url` that is no address."""
        self.bucket = bucket
        self._http = httpx.AsyncClient(
            http2=False,
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            limits=httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=2),
        )
        client = AsyncClient(url, key, AsyncClientOptions(httpx_client=self._http))
        self._api = client.storage
        self._objects = client.storage.from_(bucket)
        self._readable = f"{url.rstrip('/')}/storage/v1/object"
        self._headers = {"Authorization": f"Bearer {key}", "apikey": key}
        self._resumable = Resumable(url, key, bucket, self._http)
        # It logs every address, and user ids are part of them.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    async def check(self) -> None:
        """Ask for the bucket, and for leave to upload: the storage looks at the same rights and writes nothing."""
        # A bucket made by a migration has no owner, and the library wants one.
        with translated(self.bucket), suppress(ValidationError):
            await self._api.get_bucket(self.bucket)
        await self._ask_leave(PROBE)

    async def _ask_leave(self, key: str) -> None:
        with translated(self.bucket):
            await self._objects.create_signed_upload_url(key, CreateSignedUploadUrlOptions(upsert="true"))

    async def upload(self, key: str, data: bytes, content_type: str) -> None:
        """Store `data` under `key`, replacing what is there; a large file goes on where the last call broke off."""
        check_key(key)
        if len(data) > PART:
            await self._resumable.upload(key, data, content_type)
            return
        options: FileOptions = {"content-type": content_type, "cache-control": CACHE_SECONDS, "upsert": "true"}
        if len(data) > LONG:
            options["headers"] = {"Connection": "close"}
        try:
            with translated(self.bucket, content_type):
                await self._objects.upload(key, BufferedReader(BytesIO(data)), options)
        except StorageUnavailableError as error:
            if isinstance(error.__cause__, CUT_OFF):
                # A refusal that comes before the last byte was sent is lost with the connection.
                await self._ask_leave(key)
            raise

    async def download(self, key: str, bucket: str | None = None, limit: int | None = None) -> bytes:
        """The bytes of an object, in another bucket of the project where one is named. Raises StorageRefusedError
        where there is none, where there is no such other bucket, or where it has more than `limit` bytes."""
        check_key(key)
        where = bucket or self.bucket
        # Not with storage3, which reads to the end whatever comes.
        url = f"{self._readable}/{quote(where)}/{quote(key)}"
        with translated(where):
            async with self._http.stream("GET", url, headers=self._headers) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise self._refusal(where, reply)
                data = bytearray()
                async for piece in reply.aiter_bytes():
                    data += piece
                    if limit is not None and len(data) > limit:
                        raise too_large(limit)
        return bytes(data)

    def _refusal(self, where: str, reply: httpx.Response) -> ConsumerError:
        status, code = told(reply)
        if code == NO_BUCKET and where != self.bucket:
            # A request named it; this worker works without.
            return StorageRefusedError(f"The project has no bucket {where}.")
        return meaning(where, status, code, seconds_of(reply.headers))

    async def sign(self, keys: Sequence[str], seconds: int) -> dict[str, str]:
        """For each of `keys` that is there, a URL that shows it for so long to whoever has it."""
        urls = {}
        for some in batches(keys):
            with translated(self.bucket):
                for item in await self._objects.create_signed_urls(some, seconds):
                    if item["error"] is None and item["signedURL"]:
                        urls[item["path"]] = item["signedURL"]
        return urls

    async def ls(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Every object below the folder `prefix`, folder by folder."""
        folders = [prefix]
        while folders:
            folder = folders.pop()
            async for name, found in self._entries(folder):
                if found:
                    yield found
                else:
                    folders.append(name)

    async def _entries(self, folder: str) -> AsyncIterator[tuple[str, StoredObject | None]]:
        """What is in one folder: names, with an object or, for a folder, None."""
        offset, page = 0, PAGE
        while page == PAGE:
            found = await self._page(folder, offset)
            for entry in found:
                yield entry
            page, offset = len(found), offset + PAGE

    # A listing may take thousands of requests, and one that fails must not end it.
    @retry(
        retry=retry_if_exception_type(StorageUnavailableError),
        stop=stop_after_attempt(4),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )
    async def _page(self, folder: str, offset: int) -> list[tuple[str, StoredObject | None]]:
        found = []
        with translated(self.bucket):
            for row in await self._objects.list(folder, {"limit": PAGE, "offset": offset}):
                name = f"{folder}/{row['name']}" if folder else row["name"]
                found.append((name, None if row["id"] is None else stored(name, row)))
        return found

    async def remove(self, keys: Sequence[str]) -> list[str]:
        """Delete objects; returns the keys of those that were there."""
        removed = []
        for some in batches(keys):
            with translated(self.bucket):
                removed += [row["name"] for row in await self._objects.remove(some)]
        return removed

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()


def stored(key: str, row: dict[str, Any]) -> StoredObject:
    """An object from its row in a listing; one that is just being written has no size yet."""
    return StoredObject(key, (row["metadata"] or {}).get("size", 0), datetime.fromisoformat(row["created_at"]))


def batches(keys: Sequence[str]) -> Iterator[list[str]]:
    """The keys in as many lists as requests are needed."""
    for start in range(0, len(keys), PAGE):
        yield list(keys[start : start + PAGE])
