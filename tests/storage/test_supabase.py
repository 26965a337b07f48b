"""What reaches a bucket, and what is read there, over real connections."""

import asyncio
import os
import urllib.request
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError

import pytest

from consumer.errors import StorageRefusedError, StorageUnavailableError, StorageUnusableError
from stand_in import LEGACY_KEY, SECRET_KEY, Bucket, StorageServer, faults
from workers import eventually

KEY = "3f0c/9a1b/0.png"
LARGE = os.urandom(1_500_000)


@pytest.mark.parametrize("key", [SECRET_KEY, LEGACY_KEY], ids=["sb_secret", "legacy"])
def test_a_picture_is_stored_with_its_type_and_its_age_and_replaced_by_the_next(api, using, key):
    async def twice(storage):
        await storage.upload(KEY, b"first, and longer", "image/webp")
        await storage.upload(KEY, LARGE, "image/png")

    using(twice, key=key)
    [stored] = api.objects.values()
    assert (stored.data, stored.content_type, stored.cache_control) == (LARGE, "image/png", "max-age=3600")


@pytest.mark.parametrize("size", [0, 1, 60_000, 60_001, 6 * 1024 * 1024])
def test_any_size_arrives_whole(api, using, size):
    data = os.urandom(size)
    using(lambda storage: storage.upload(KEY, data, "image/png"))
    assert api.stored(KEY).data == data


@pytest.mark.parametrize("key", ["", "/a.png", "../a.png", "a/../../b.png", "a//b.png", "a\0b"])
def test_a_key_that_leaves_the_bucket_is_refused_before_any_request(api, using, key):
    with pytest.raises(StorageRefusedError, match="inside the bucket"):
        using(lambda storage: storage.upload(key, b"x", "image/png"))
    assert not api.requests


def test_small_uploads_share_a_connection_and_as_many_at_once_as_there_are_all_arrive(api, using):
    async def small(storage):
        for n in range(5):
            await storage.upload(f"a/{n}.webp", b"small", "image/webp")

    async def many(storage):
        await asyncio.gather(*(storage.upload(f"b/{n}.png", LARGE[: 1000 * n], "image/png") for n in range(100)))

    using(small)
    assert len({request.client for request in api.requests}) == 1
    using(many)
    assert all(api.stored(f"b/{n}.png").data == LARGE[: 1000 * n] for n in range(100))


@pytest.mark.parametrize("size", [100_000, 1_500_000, 6_000_000])
def test_after_a_refused_upload_the_next_one_does_not_hang(api, using, size):
    api.fail(faults.early_error("403", "Unauthorized", "no"), path=KEY)

    async def both(storage):
        with pytest.raises((StorageUnusableError, StorageUnavailableError)):
            await storage.upload(KEY, os.urandom(size), "image/png")
        async with asyncio.timeout(5):
            await storage.upload(KEY, b"next", "image/png")

    using(both, seconds=30)
    assert api.stored(KEY).data == b"next"


@pytest.mark.parametrize("size", [100, 100_000, 6_000_000])
def test_a_refusal_is_told_from_a_broken_connection_whatever_the_size(api, using, size):
    api.keys.clear()
    with pytest.raises(StorageUnusableError, match="SUPABASE_SECRET_KEY"):
        using(lambda storage: storage.upload(KEY, os.urandom(size), "image/png"))


def test_cancelling_an_upload_ends_the_transfer(api, using):
    hold = faults.Hold(100_000)
    api.fail(hold)

    async def cancelled(storage):
        upload = asyncio.create_task(storage.upload(KEY, os.urandom(6_000_000), "image/png"))
        assert await asyncio.to_thread(hold.reached.wait, 10)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload

    using(cancelled)
    hold.release()
    [request] = api.requests
    eventually(lambda: request.ended_early, "the connection ends")
    assert request.received < 6_000_000
    assert not api.objects


def test_a_download_is_what_was_uploaded(api, using):
    api.put(KEY, LARGE)
    assert using(lambda storage: storage.download(KEY)) == LARGE
    with pytest.raises(StorageRefusedError, match=r"workspace-temp has no such object\.$"):
        using(lambda storage: storage.download("3f0c/9a1b/1.png"))


def test_a_signed_url_shows_an_object_without_a_key_until_it_ends(api, using):
    keys = [f"3f0c/{n}.png" for n in range(150)]
    for key in keys:
        api.put(key, key.encode())
    urls = using(lambda storage: storage.sign([*keys, "3f0c/none.png"], 60))
    assert set(urls) == set(keys)
    with urllib.request.urlopen(urls[keys[-1]]) as reply:
        assert reply.read() == keys[-1].encode()
    [ended] = using(lambda storage: storage.sign(keys[:1], 0)).values()
    with pytest.raises(HTTPError, match="400") as caught:
        urllib.request.urlopen(ended)
    caught.value.close()
    assert using(lambda storage: storage.sign([], 60)) == {}


async def listed(storage, prefix):
    return [found async for found in storage.ls(prefix)]


def test_a_listing_finds_every_object_of_every_folder_over_many_pages(api, using):
    keys = {f"u/j{job}/{n}.png" for job in range(3) for n in range(job * 100)} | {"u/j1/deep/er/0.png", "top.png"}
    for key in keys:
        api.put(key, key.encode())
    api.put("u/j10/0.png", b"a look-alike")
    found = using(lambda storage: listed(storage, ""))
    assert len(found) == len(api.objects)
    assert {each.key: each.size for each in found} == {key: len(each.data) for (_, key), each in api.objects.items()}
    assert all(abs(datetime.now(UTC) - each.created_at) < timedelta(minutes=5) for each in found)
    below = using(lambda storage: listed(storage, "u/j1"))
    assert {each.key for each in below} == {key for key in keys if key.startswith("u/j1/")}
    assert using(lambda storage: listed(storage, "nowhere")) == []


def test_removing_tells_what_was_there(api, using):
    keys = [f"u/j/{n}.png" for n in range(250)]
    for key in keys:
        api.put(key, b"x")
    assert using(lambda storage: storage.remove([*keys[1:], "u/j/none.png"])) == keys[1:]
    assert list(api.objects) == [("workspace-temp", keys[0])]
    assert using(lambda storage: storage.remove([])) == []


@pytest.mark.parametrize("owner", [None, "", "3f0c"])
def test_a_check_passes_where_the_bucket_may_be_written_to_and_writes_nothing(api, using, owner):
    api.buckets["workspace-temp"] = Bucket(owner=owner)
    assert using(lambda storage: storage.check()) is None
    assert not api.objects
    assert {request.status for request in api.requests} == {200}


def test_a_stand_in_that_is_not_asked_nicely_is_as_odd_as_the_real_one(api: StorageServer) -> None:
    """What the client must not do, so that the tests above mean something."""
    from storage3 import AsyncStorageClient
    from storage3.exceptions import StorageApiError

    headers = {"apikey": SECRET_KEY, "Authorization": f"Bearer {SECRET_KEY}"}

    async def odd() -> None:
        import httpx

        async with httpx.AsyncClient(timeout=1) as http:
            bucket = AsyncStorageClient(f"{api.url}/storage/v1/", headers, http_client=http).from_("workspace-temp")
            await bucket.upload(KEY, b"x", {"contentType": "image/png"})  # type: ignore[typeddict-unknown-key]
            with pytest.raises(StorageApiError) as caught:
                await bucket.upload(KEY, os.urandom(1_500_000))
            assert (caught.value.status, caught.value.code) == ("409", "Duplicate")
            with pytest.raises(httpx.TimeoutException):
                await bucket.list()

    asyncio.run(odd())
    assert api.stored(KEY).content_type == "text/plain"
