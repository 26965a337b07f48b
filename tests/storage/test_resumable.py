"""Files of more than one part: what the storage has is not sent again."""

import asyncio
import os

import pytest

from consumer.errors import StorageRefusedError, StorageUnavailableError, StorageUnusableError
from consumer.storage import resumable
from consumer.storage.resumable import direct
from stand_in import ANON_KEY, LEGACY_KEY, SECRET_KEY, Bucket, faults
from workers import eventually

KEY = "3f0c/9a1b/0.mp4"
PART = 6 * 1024 * 1024
LARGE = os.urandom(30 * 1024 * 1024)
TWO_PARTS = LARGE[: 8 * 1024 * 1024]
UPLOADS = "/upload/resumable"


async def put(storage, data=TWO_PARTS, key=KEY):
    await storage.upload(key, data, "video/mp4")


async def put_twice(storage, data=TWO_PARTS):
    """The first one breaks off."""
    with pytest.raises(StorageUnavailableError):
        await put(storage, data)
    await put(storage, data)


def parts(api):
    """Offset and received bytes of each part."""
    return [(int(each.headers["upload-offset"]), each.received) for each in api.seen("PATCH")]


@pytest.mark.parametrize("key", [SECRET_KEY, LEGACY_KEY], ids=["sb_secret", "legacy"])
def test_a_large_file_goes_in_parts_and_replaces_what_is_there(api, using, key):
    api.put(KEY, b"old")
    using(put, key=key)
    stored = api.stored(KEY)
    assert stored.data == TWO_PARTS
    assert (stored.content_type, stored.cache_control) == ("video/mp4", "max-age=3600")
    assert parts(api) == [(0, PART), (PART, len(TWO_PARTS) - PART)]


def test_six_megabytes_go_in_one_piece_and_one_byte_more_does_not(api, using):
    using(lambda storage: put(storage, LARGE[:PART]))
    assert not api.seen(path=UPLOADS)
    using(lambda storage: put(storage, LARGE[: PART + 1]))
    assert parts(api) == [(0, PART), (PART, 1)]
    assert api.stored(KEY).data == LARGE[: PART + 1]


@pytest.mark.parametrize("kept", [True, False], ids=["what arrived is kept", "it is not"])
def test_after_a_broken_connection_only_what_is_missing_is_sent(api, using, kept):
    api.fail(faults.drop(1_000_000, kept), method="PATCH", skip=2)
    using(lambda storage: put_twice(storage, LARGE))
    assert api.stored(KEY).data == LARGE
    broken = 2 * PART
    again = broken + (1_000_000 if kept else 0)
    rest = [(again + n * PART, min(PART, len(LARGE) - again - n * PART)) for n in range(3)]
    assert parts(api) == [(0, PART), (PART, PART), (broken, 1_000_000), *rest]
    assert len(api.seen("POST")) == len(api.seen("HEAD")) == 1


@pytest.mark.parametrize("skip", [0, 1], ids=["first part", "last part"])
def test_a_lost_answer_sends_nothing_twice(api, using, skip):
    api.fail(faults.lost_reply, method="PATCH", skip=skip)
    using(put_twice)
    assert api.stored(KEY).data == TWO_PARTS
    assert parts(api) == [(0, PART), (PART, len(TWO_PARTS) - PART)]


def break_off(api, times=1):
    api.fail(faults.drop(1000), times=times, method="PATCH")


@pytest.mark.parametrize("gone", [faults.answer(404), faults.answer(410), faults.answer(400), None])
def test_an_upload_that_expired_begins_anew(api, using, gone):
    break_off(api)

    async def expired(storage):
        with pytest.raises(StorageUnavailableError):
            await put(storage)
        api.uploads.clear()
        if gone:
            api.fail(gone, method="HEAD")
        await put(storage)

    using(expired)
    assert api.stored(KEY).data == TWO_PARTS
    assert len(api.seen("POST")) == 2


def test_an_upload_that_expires_between_two_parts_begins_anew_with_the_next_try(api, using):
    api.fail(faults.answer(404, b"gone"), method="PATCH", skip=1)
    using(put_twice)
    assert [offset for offset, _ in parts(api)] == [0, PART, 0, PART]


def test_other_bytes_under_the_same_key_begin_anew(api, using):
    break_off(api)

    async def other(storage):
        with pytest.raises(StorageUnavailableError):
            await put(storage)
        await put(storage, TWO_PARTS[::-1])

    using(other)
    assert api.stored(KEY).data == TWO_PARTS[::-1]
    assert len(api.seen("POST")) == 2


def test_a_storage_that_has_more_than_there_is_begins_anew(api, using):
    break_off(api)
    api.fail(faults.answer(200, b"", {"Upload-Offset": str(len(TWO_PARTS) + 1)}), method="HEAD")
    using(put_twice)
    assert api.stored(KEY).data == TWO_PARTS


def test_only_so_many_broken_uploads_are_remembered(api, using, monkeypatch):
    monkeypatch.setattr(resumable, "REMEMBERED", 1)
    break_off(api, 2)

    async def three(storage):
        for key in ("a/0.mp4", "b/0.mp4"):
            with pytest.raises(StorageUnavailableError):
                await put(storage, key=key)
        await put(storage, key="b/0.mp4")
        await put(storage, key="a/0.mp4")

    using(three)
    assert len(api.seen("POST")) == 3
    assert len(api.seen("HEAD")) == 1


def test_what_is_done_or_refused_is_forgotten(api, using):
    async def done_and_refused(storage):
        await put(storage)
        api.fail(faults.answer(413, b"Maximum size exceeded"), method="PATCH")
        with pytest.raises(StorageRefusedError):
            await put(storage)
        await put(storage)

    using(done_and_refused)
    assert len(api.seen("POST")) == 3
    assert not api.seen("HEAD")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (faults.api_error("403", "Unauthorized", "Invalid Compact JWS"), StorageUnusableError, "SUPABASE_SECRET_KEY"),
        (faults.answer(403, b"no"), StorageUnusableError, "SUPABASE_SECRET_KEY"),
        (faults.answer(401, {"message": "Invalid API key"}), StorageUnusableError, "SUPABASE_SECRET_KEY"),
        (faults.answer(413, b"Maximum size exceeded"), StorageRefusedError, "file_size_limit"),
        (faults.answer(415, b"no"), StorageRefusedError, "video/mp4"),
        (faults.answer(409, b"The file is locked"), StorageUnavailableError, "409"),
        (faults.answer(423, b"The file is locked"), StorageUnavailableError, "423"),
        (faults.answer(500, b"no"), StorageUnavailableError, "500"),
        (faults.html(502), StorageUnavailableError, "502"),
        (faults.answer(544, b"no"), StorageUnavailableError, "544"),
        (faults.html(200), StorageUnavailableError, "not available"),
        (faults.answer(204, b"", {"Upload-Offset": "0"}), StorageUnavailableError, "not available"),
        (faults.answer(204, b"", {"Upload-Offset": "much"}), StorageUnavailableError, "not available"),
        (faults.drop(), StorageUnavailableError, "Error)."),
    ],
)
def test_an_error_means_the_same_as_for_a_small_file(api, using, method, fault, kind, words):
    api.fail(fault, method=method)
    with pytest.raises(kind) as caught:
        using(put)
    assert type(caught.value) is kind
    assert "workspace-temp" in str(caught.value)
    assert words in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (SECRET_KEY, api.url, "3f0c"))
    assert not api.objects


def test_what_a_bucket_refuses(api, using):
    for bucket, words in [
        (Bucket(file_size_limit=PART), "file_size_limit"),
        (Bucket(allowed_mime_types=["image/png"]), "allowed_mime_types"),
    ]:
        api.buckets["workspace-temp"] = bucket
        with pytest.raises(StorageRefusedError, match=words):
            using(put)
    with pytest.raises(StorageUnusableError, match="CONSUMER_BUCKET"):
        using(put, bucket="elsewhere")
    for key in (ANON_KEY, "a.wrong.jwt"):
        with pytest.raises(StorageUnusableError, match="SUPABASE_SECRET_KEY"):
            using(put, key=key)


@pytest.mark.parametrize("fault", [faults.answer(423), faults.answer(503, b"", {"Retry-After": "7"}), faults.drop()])
def test_a_storage_that_does_not_say_how_much_it_has_is_asked_again(api, using, fault):
    break_off(api)
    api.fail(fault, method="HEAD")

    async def thrice(storage):
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                await put(storage)
        await put(storage)

    using(thrice)
    assert api.stored(KEY).data == TWO_PARTS
    assert len(api.seen("POST")) == 1


@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
def test_how_long_to_wait_is_told(api, using, method):
    break_off(api)
    api.fail(faults.answer(429, b"", {"Retry-After": "7"}), method=method, skip=int(method == "PATCH"))

    async def twice(storage):
        with pytest.raises(StorageUnavailableError):
            await put(storage)
        with pytest.raises(StorageUnavailableError) as caught:
            await put(storage)
        assert caught.value.retry_after == 7

    using(twice)


def test_cancelling_ends_the_transfer_in_the_middle_of_a_part_and_the_next_call_goes_on(api, using):
    hold = faults.Hold(100_000)
    api.fail(hold, method="PATCH", skip=1)

    async def cancelled(storage):
        upload = asyncio.create_task(put(storage, LARGE))
        assert await asyncio.to_thread(hold.reached.wait, 10)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        hold.release()
        second = api.seen("PATCH")[1]
        await asyncio.to_thread(eventually, lambda: second.ended_early, "the connection ends")
        assert second.received < PART
        assert not api.objects
        await put(storage, LARGE)

    using(cancelled)
    assert api.stored(KEY).data == LARGE
    assert len(api.seen("POST")) == 1
    assert sum(size for _, size in parts(api)) == len(LARGE)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://abcdefghijklmnopqrst.supabase.co", "https://abcdefghijklmnopqrst.storage.supabase.co"),
        ("https://abcdefghijklmnopqrst.supabase.co/", "https://abcdefghijklmnopqrst.storage.supabase.co"),
        ("https://abcdefghijklmnopqrst.storage.supabase.co", "https://abcdefghijklmnopqrst.storage.supabase.co"),
        ("https://api.example.com", "https://api.example.com"),
        ("http://127.0.0.1:54321/", "http://127.0.0.1:54321"),
        ("https://supabase.co.example.com", "https://supabase.co.example.com"),
    ],
)
def test_a_hosted_project_has_a_host_for_large_files(url, expected):
    assert direct(url) == expected
