"""Which storage the settings choose, and what it never tells."""

import asyncio
import logging

import pytest

from consumer.errors import ConsumerError, UsageError
from consumer.settings import Settings
from consumer.storage import open_storage
from consumer.storage.local import LocalStorage
from consumer.storage.supabase import SupabaseStorage
from stand_in import LEGACY_KEY, SECRET_KEY, StorageServer, faults

URL = "https://project.supabase.co"
KEY = "3f0c/9a1b/0.png"


def settings(**values) -> Settings:
    return Settings(_env_file=None, **values)


def test_a_folder_where_there_is_no_project(tmp_path):
    storage = open_storage(settings(storage="local", storage_dir=tmp_path, bucket="mine"))
    assert isinstance(storage, LocalStorage)
    assert (storage.bucket, storage.path("a/0.png")) == ("mine", tmp_path / "mine/a/0.png")


@pytest.mark.parametrize("key", [SECRET_KEY, LEGACY_KEY], ids=["sb_secret", "legacy"])
def test_a_bucket_where_there_is_one(key):
    storage = open_storage(settings(supabase_url=URL, supabase_secret_key=key, bucket="mine"))
    assert isinstance(storage, SupabaseStorage)
    assert storage.bucket == "mine"
    assert key not in repr(storage)
    asyncio.run(storage.close())


def test_a_missing_key_is_named():
    with pytest.raises(UsageError, match=r"^SUPABASE_SECRET_KEY is not set: .*CONSUMER_STORAGE=local\.$"):
        open_storage(settings(supabase_url=URL))


@pytest.mark.parametrize("key", ["sb_secret_a b", "sb_secret_a\nb", "sb_secret_\u2013"])
def test_a_key_that_was_copied_badly_is_not_quoted(key):
    with pytest.raises(UsageError, match="SUPABASE_SECRET_KEY") as caught:
        open_storage(settings(supabase_url=URL, supabase_secret_key=key))
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["https://[project", "https://project:port"])
def test_an_address_that_is_none_is_not_quoted(url):
    with pytest.raises(UsageError, match="SUPABASE_URL") as caught:
        open_storage(settings(supabase_url=url, supabase_secret_key=SECRET_KEY))
    assert url not in str(caught.value)


@pytest.mark.parametrize("key", [SECRET_KEY, LEGACY_KEY], ids=["sb_secret", "legacy"])
def test_no_log_line_of_any_library_holds_a_key_or_an_address(api: StorageServer, caplog, key):
    caplog.set_level(logging.INFO)
    api.fail(faults.api_error("403"), method="POST", path="0.png")
    api.fail(faults.drop(7_000_000), method="PATCH")

    async def everything() -> dict[str, str]:
        storage = open_storage(settings(supabase_url=api.url, supabase_secret_key=key))
        await storage.check()
        for data in (b"small", b"small", b"l" * 7_000_000, b"l" * 7_000_000):
            try:
                await storage.upload(KEY, data, "image/png")
            except ConsumerError as error:
                logging.getLogger("consumer").info("failed: %s", error)
        urls = await storage.sign([KEY], 60)
        await storage.download(KEY)
        await storage.remove([each.key async for each in storage.ls()])
        await storage.close()
        return urls

    [url] = asyncio.run(everything()).values()
    token = url.partition("token=")[2]
    assert token
    assert "failed" in caplog.text
    assert not [secret for secret in (key, api.url, token, "3f0c") if secret in caplog.text]


def test_no_log_line_holds_a_key_even_where_libraries_tell_all(api: StorageServer, caplog):
    caplog.set_level(logging.DEBUG)

    api.fail(faults.api_error("403"))

    async def uploads() -> None:
        storage = open_storage(settings(supabase_url=api.url, supabase_secret_key=SECRET_KEY))
        try:
            await storage.upload(KEY, b"small", "image/png")
        except ConsumerError as error:
            logging.getLogger("consumer").info("failed", exc_info=error)
        await storage.upload(KEY, b"l" * 7_000_000, "video/mp4")
        await storage.close()

    asyncio.run(uploads())
    assert "StorageApiError" in caplog.text, "a traceback was written"
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert SECRET_KEY not in caplog.text
