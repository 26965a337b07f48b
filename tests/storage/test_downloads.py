"""Downloads from another bucket than one's own, and of no more than a limit."""

import asyncio
import os
from pathlib import Path

import pytest

from consumer.errors import StorageRefusedError, StorageUnusableError
from consumer.storage.local import LocalStorage
from stand_in import Bucket, faults

KEY = "3f0c/9a1b/0.png"
DATA = os.urandom(1_000_000)
TOO_LARGE = r"^The object is larger than 0\.5 MiB\.$"
LIMIT = 2**19


@pytest.mark.parametrize("key", [KEY, "3f0c/a picture (1)?&+.png"])
def test_a_bucket_is_read_that_is_not_ones_own(api, using, key):
    api.buckets["user-library"] = Bucket()
    api.put(key, b"theirs", bucket="user-library")
    api.put(key, b"ours")
    assert using(lambda storage: storage.download(key, "user-library")) == b"theirs"
    assert using(lambda storage: storage.download(key)) == b"ours"


def test_another_bucket_that_is_not_there_is_no_fault_of_the_settings(api, using):
    with pytest.raises(StorageRefusedError, match=r"^The project has no bucket user-library\.$"):
        using(lambda storage: storage.download(KEY, "user-library"))
    del api.buckets["workspace-temp"]
    with pytest.raises(StorageUnusableError, match="CONSUMER_BUCKET"):
        using(lambda storage: storage.download(KEY))


def test_no_more_is_read_than_the_limit(api, using):
    api.put(KEY, DATA)
    assert using(lambda storage: storage.download(KEY, limit=len(DATA))) == DATA
    with pytest.raises(StorageRefusedError, match=TOO_LARGE):
        using(lambda storage: storage.download(KEY, limit=LIMIT))

    def endless(exchange):
        exchange.send_response(200)
        exchange.end_headers()
        while True:
            exchange.wfile.write(DATA)

    api.fail(endless)
    with pytest.raises(StorageRefusedError, match=TOO_LARGE):
        using(lambda storage: storage.download(KEY, limit=LIMIT))


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (faults.html(404), StorageUnusableError, "SUPABASE_URL"),
        (faults.answer(301, b"", {"Location": "https://elsewhere.example"}), StorageUnusableError, "SUPABASE_URL"),
        (faults.api_error("404", "not_found"), StorageRefusedError, "no such object"),
        (faults.api_error("404", "not_found", http=404), StorageRefusedError, "no such object"),
    ],
)
def test_an_error_of_a_download_is_told_from_its_bytes(api, using, fault, kind, words):
    api.fail(fault)
    with pytest.raises(kind, match=words):
        using(lambda storage: storage.download(KEY))


def test_a_folder_beside_ones_own_is_another_bucket(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, "workspace-temp")
    theirs = tmp_path / "user-library" / KEY
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(DATA)
    assert asyncio.run(storage.download(KEY, "user-library", len(DATA))) == DATA
    with pytest.raises(StorageRefusedError, match=TOO_LARGE):
        asyncio.run(storage.download(KEY, "user-library", LIMIT))
    for bucket in (None, "workspace-temp", "nowhere"):
        with pytest.raises(StorageRefusedError, match="no such object"):
            asyncio.run(storage.download(KEY, bucket))
