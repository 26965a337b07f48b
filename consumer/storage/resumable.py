"""Files larger than one part, by the resumable protocol (TUS): what the storage has is not sent again.

An upload that breaks off is remembered by its key and its bytes, so the next call goes on from the storage's offset.
"""

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from io import BytesIO
from typing import Any

import httpx
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from consumer.errors import ConsumerError, StorageRefusedError, StorageUnusableError
from consumer.storage.base import PART
from consumer.storage.replies import PASSING, meaning, seconds_of, translated, unavailable

HOSTED = re.compile(r"^https://([a-z0-9-]+)\.supabase\.co$")
GONE = frozenset({404, 410})
REMEMBERED = 64
"""Uploads that broke off; of more than these, the oldest begin anew."""

CACHE_SECONDS = "3600"

Name = tuple[str, bytes]
"""A key and the digest of its bytes."""

Uploader = Any
"""tuspy's AsyncUploader, whose methods have no types."""


class Parts:
    """The bytes of a file as tuspy reads them, each part a stream: that goes out piece by piece, and ends when it is
    cancelled, while aiohttp sends bytes to their end whatever happens."""

    def __init__(self, data: bytes) -> None:
        self._data = BytesIO(data)
        self.seek, self.tell = self._data.seek, self._data.tell

    def read(self, size: int) -> BytesIO:
        """The next part."""
        return BytesIO(self._data.read(size))


class Resumable:
    """Uploads of one bucket, in parts."""

    def __init__(self, url: str, key: str, bucket: str, http: httpx.AsyncClient) -> None:
        self.bucket = bucket
        self._http = http
        headers = {"Authorization": f"Bearer {key}", "apikey": key, "x-upsert": "true"}
        self._client = TusClient(f"{direct(url)}/storage/v1/upload/resumable", headers)
        self._begun: OrderedDict[Name, str] = OrderedDict()

    async def upload(self, key: str, data: bytes, content_type: str) -> None:
        """Store `data` under `key`, from where the last call with both broke off. Cancelling ends the transfer.

        Raises StorageUnavailableError, StorageUnusableError or StorageRefusedError; after the first, call again."""
        name = key, await asyncio.to_thread(digest, data)
        try:
            with translated(self.bucket, content_type):
                await self._send(name, self._uploader(key, data, content_type), content_type)
        except (StorageRefusedError, StorageUnusableError):
            self._begun.pop(name, None)
            raise
        self._begun.pop(name, None)

    def _uploader(self, key: str, data: bytes, content_type: str) -> Uploader:
        told = {
            "bucketName": self.bucket,
            "objectName": key,
            "contentType": content_type,
            "cacheControl": CACHE_SECONDS,
        }
        return self._client.async_uploader(file_stream=Parts(data), chunk_size=PART, metadata=told)

    async def _send(self, name: Name, uploader: Uploader, content_type: str) -> None:
        try:
            if not await self._resume(name, uploader):
                uploader.set_url(await uploader.create_url())
                self._remember(name, uploader.url)
            while uploader.offset < uploader.stop_at:
                before = uploader.offset
                await uploader.upload_chunk()
                if uploader.offset <= before:
                    raise unavailable(self.bucket, "it took nothing")
        except TusCommunicationError as error:
            raise self._meaning(name, uploader, error, content_type) from error

    async def _resume(self, name: Name, uploader: Uploader) -> bool:
        """Go to what the storage has of a remembered upload; False when there is none."""
        # Not with tuspy's own get_offset, which blocks the loop and knows no timeout.
        if (url := self._begun.get(name)) is None:
            return False
        reply = await self._http.head(url, headers=uploader.get_headers())
        if reply.status_code in PASSING or reply.status_code >= 500:
            raise unavailable(self.bucket, str(reply.status_code), seconds_of(reply.headers))
        offset = int(reply.headers.get("upload-offset", "-1"))
        if not reply.is_success or not 0 <= offset <= uploader.stop_at:
            # It expired, or is not ours: what a new one meets says more.
            del self._begun[name]
            return False
        uploader.set_url(url)
        uploader.offset = offset
        return True

    def _remember(self, name: Name, url: str) -> None:
        self._begun[name] = url
        while len(self._begun) > REMEMBERED:
            self._begun.popitem(last=False)

    def _meaning(
        self, name: Name, uploader: Uploader, error: TusCommunicationError, content_type: str
    ) -> ConsumerError:
        if error.status_code is None:
            return unavailable(self.bucket, type(error.args[0]).__name__)
        if error.status_code in GONE and uploader.request is not None:
            # The upload has expired, for a bucket that is not there shows when one begins.
            self._begun.pop(name, None)
            return unavailable(self.bucket, "the upload has expired")
        headers: dict[str, str] = uploader.request.response_headers if uploader.request else {}
        status, code = told(error)
        return meaning(self.bucket, status, code, seconds_of(headers), content_type)


def told(error: TusCommunicationError) -> tuple[str, str]:
    """Status and code of an error: those in the body where it is one of the storage's, else the one of HTTP."""
    try:
        body: Any = json.loads(error.response_content)
        return str(body["statusCode"]), str(body["error"])
    except (ValueError, LookupError, TypeError):
        return str(error.status_code), ""


def digest(data: bytes) -> bytes:
    """What tells these bytes from others."""
    return hashlib.blake2b(data, digest_size=16).digest()


def direct(url: str) -> str:
    """The address for large files: a hosted project has a host of its own for them."""
    return HOSTED.sub(r"https://\1.storage.supabase.co", url.rstrip("/"))
