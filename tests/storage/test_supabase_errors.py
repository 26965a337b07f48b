"""Every error that the storage was seen to answer with becomes one of ours, whose sentence says what to change."""

import asyncio
import socket
import time
from email.utils import formatdate

import pytest

from bucket_clients import opened
from consumer.errors import StorageRefusedError, StorageUnavailableError, StorageUnusableError
from stand_in import ANON_KEY, SECRET_KEY, Bucket, faults

KEY = "3f0c/9a1b/0.png"

UNUSABLE, REFUSED, UNAVAILABLE = StorageUnusableError, StorageRefusedError, StorageUnavailableError

STATUSES = [
    ("401", "Unauthorized", UNUSABLE, "SUPABASE_SECRET_KEY"),
    ("403", "Unauthorized", UNUSABLE, "SUPABASE_SECRET_KEY"),
    ("402", "Restricted", UNUSABLE, "SUPABASE_URL"),
    ("404", "Bucket not found", UNUSABLE, "CONSUMER_BUCKET"),
    ("404", "not_found", REFUSED, "no such object"),
    ("400", "InvalidKey", REFUSED, "the name of the file"),
    ("400", "InvalidRequest", REFUSED, "CONSUMER_BUCKET"),
    ("413", "Payload too large", REFUSED, "file_size_limit"),
    ("415", "invalid_mime_type", REFUSED, "image/png: add it to its allowed_mime_types"),
    ("408", "Timeout", UNAVAILABLE, "408"),
    ("409", "Duplicate", UNAVAILABLE, "409"),
    ("423", "ResourceLocked", UNAVAILABLE, "423"),
    ("429", "Too many requests", UNAVAILABLE, "429"),
    ("500", "DatabaseError", UNAVAILABLE, "500"),
    ("503", "LockTimeout", UNAVAILABLE, "503"),
    ("544", "DatabaseTimeout", UNAVAILABLE, "544"),
]


def check_sentence(error: BaseException, api, *words: str) -> None:
    """It names the bucket and what was asked for, and neither the key nor an address."""
    text = str(error)
    assert all(word in text for word in ("workspace-temp", *words)), text
    assert not any(secret in text for secret in (SECRET_KEY, ANON_KEY, api.url, "127.0.0.1", "3f0c")), text
    assert text.endswith(".")


def fails(using, kind, work=lambda storage: storage.upload(KEY, b"pixels", "image/png"), **options):
    with pytest.raises(kind) as caught:
        using(work, **options)
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("http", [400, None], ids=["http400", "true"])
@pytest.mark.parametrize(("status", "code", "kind", "words"), STATUSES)
def test_the_true_status_is_the_one_in_the_body(api, using, http, status, code, kind, words):
    api.fail(faults.api_error(status, code, f"about {api.url}", http or int(status)))
    check_sentence(fails(using, kind), api, words)
    assert len(api.requests) == 1


WORK = {
    "check": lambda storage: storage.check(),
    "download": lambda storage: storage.download(KEY),
    "sign": lambda storage: storage.sign([KEY], 60),
    "remove": lambda storage: storage.remove([KEY]),
    "ls": lambda storage: anext(storage.ls()),
}
TRIES = {WORK["ls"]: 4}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
@pytest.mark.parametrize(("status", "kind"), [("403", UNUSABLE), ("503", UNAVAILABLE)])
def test_every_call_translates_its_errors(api, using, work, status, kind):
    tries = TRIES.get(work, 1)
    for _ in range(tries if kind is UNAVAILABLE else 1):
        api.fail(faults.api_error(status))
    check_sentence(fails(using, kind, work), api)
    for _ in range(tries):
        api.fail(faults.drop())
    check_sentence(fails(using, UNAVAILABLE, work), api)
    if work is not WORK["download"]:
        for _ in range(tries):
            api.fail(faults.html(200))
        check_sentence(fails(using, UNAVAILABLE, work), api)


def test_a_listing_asks_again_for_a_page_that_failed(api, using):
    async def listed(storage):
        await storage.upload(KEY, b"x", "image/png")
        api.fail(faults.html(502))
        return [found.key async for found in storage.ls()]

    assert using(listed) == [KEY]


@pytest.mark.parametrize("key", ["a.wrong.jwt", "sb_secret_wrong"])
def test_a_wrong_key(api, using, key):
    error = fails(using, UNUSABLE, key=key)
    check_sentence(error, api, "SUPABASE_SECRET_KEY", "SUPABASE_URL")
    assert key not in str(error)
    assert api.requests[0].status == 400, "the odd status of the real one"


def test_a_key_that_may_not_write(api, using):
    check_sentence(fails(using, UNUSABLE, key=ANON_KEY), api, "SUPABASE_SECRET_KEY")
    check_sentence(fails(using, UNUSABLE, WORK["check"], key=ANON_KEY), api, "SUPABASE_SECRET_KEY")


def test_a_bucket_that_is_not_there(api, using):
    for work in (lambda storage: storage.upload(KEY, b"x", "image/png"), WORK["check"]):
        error = fails(using, UNUSABLE, work, bucket="elsewhere")
        assert "elsewhere" in str(error)
        assert "CONSUMER_BUCKET" in str(error)


def test_a_file_that_the_bucket_does_not_take(api, using):
    api.buckets["workspace-temp"] = Bucket(file_size_limit=5)
    check_sentence(fails(using, REFUSED), api, "file_size_limit")
    api.buckets["workspace-temp"] = Bucket(allowed_mime_types=["image/webp"])
    check_sentence(fails(using, REFUSED), api, "allowed_mime_types", "image/png")


def test_a_name_that_no_key_can_have(api, using):
    error = fails(using, REFUSED, lambda storage: storage.upload("a/é#.png", b"x", "image/png"))
    check_sentence(error, api, "name of the file")


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (faults.html(502), UNAVAILABLE, "502"),
        (faults.answer(503, {"message": "name resolution failed"}), UNAVAILABLE, "503"),
        (faults.answer(401, {"message": "Invalid API key", "hint": "?"}), UNUSABLE, "SUPABASE_SECRET_KEY"),
        (faults.answer(404, {"message": "no Route matched with those values"}), UNUSABLE, "SUPABASE_URL"),
        (faults.html(404), UNUSABLE, "SUPABASE_URL"),
        (faults.answer(301, b"", {"Location": "https://elsewhere.example"}), UNUSABLE, "SUPABASE_URL"),
        (faults.html(200), UNAVAILABLE, "could not be read"),
        (faults.answer(200, {}), UNAVAILABLE, "could not be read"),
        (faults.answer(200, []), UNAVAILABLE, "could not be read"),
        (faults.answer(400, []), REFUSED, "400"),
        (faults.api_error("", "", ""), UNAVAILABLE, "not available"),
        (faults.drop(50), UNAVAILABLE, "Error)."),
        (faults.hang, UNAVAILABLE, "ReadTimeout"),
    ],
)
def test_an_odd_answer(api, using, fault, kind, words):
    api.fail(fault)
    check_sentence(fails(using, kind, seconds=0.5), api, words)
    assert not api.objects


def test_an_upload_whose_answer_was_lost_is_there_and_may_be_repeated(api, using):
    api.fail(faults.lost_reply)

    async def twice(storage):
        with pytest.raises(UNAVAILABLE):
            await storage.upload(KEY, b"pixels", "image/png")
        assert api.stored(KEY).data == b"pixels"
        await storage.upload(KEY, b"pixels", "image/png")

    using(twice)
    assert len(api.objects) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_server_that_is_not_there(host):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def upload() -> None:
        async with opened(f"http://{host}:{port}") as storage:
            await storage.upload(KEY, b"x", "image/png")

    with pytest.raises(UNAVAILABLE, match=r"workspace-temp is not available \(ConnectError\)\.$"):
        asyncio.run(upload())


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), (lambda: formatdate(time.time() + 60), 50, 60), ("soon", 0, 0), ("", 0, 0), ("-3", 0, 0)],
)
def test_how_long_to_wait_is_told(api, using, header, least, most):
    api.fail(faults.too_many(header if isinstance(header, str) else header()))
    assert least <= fails(using, UNAVAILABLE).retry_after <= most


def test_how_long_to_wait_is_told_by_a_gateway_too(api, using):
    api.fail(faults.answer(503, b"<html>", {"Retry-After": "3"}))
    assert fails(using, UNAVAILABLE).retry_after == 3
