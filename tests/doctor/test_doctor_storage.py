"""What the doctor says of the storage: over real connections, with the answers of the real one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from patients import Patient
from postgres import Database
from stand_in import ANON_KEY, LEGACY_KEY, SECRET_KEY, Bucket, Exchange, StorageServer
from stand_in.faults import answer, api_error, drop, hang, html

BUCKETS, OURS = "storage.buckets", "where id = 'workspace-temp'"
TYPES = ["image/png", "image/webp", "video/mp4"]
PROBED = "A probe was stored, read back, shown by a signed URL and not without one, and deleted."


@pytest.fixture
def api() -> Iterator[StorageServer]:
    with StorageServer() as api:
        yield api


@pytest.fixture
def project(db: Database, api: StorageServer) -> Iterator[Patient]:
    """A migrated database, and its project's storage."""
    with with_key(db, api, SECRET_KEY) as patient:
        yield patient


def with_key(db: Database, api: StorageServer, key: str) -> Patient:
    """A patient whose SUPABASE_SECRET_KEY is `key`."""
    return Patient(db, supabase_url=api.url, supabase_secret_key=key, upload_seconds=2.0)


@pytest.mark.parametrize("key", [SECRET_KEY, LEGACY_KEY])
def test_a_storage_that_works(db: Database, api: StorageServer, key: str) -> None:
    with with_key(db, api, key) as project:
        bucket = ("ok", "The bucket workspace-temp is there, is private, and takes pictures and videos.", None)
        assert project.lines("storage.bucket") == [bucket]
        assert project.lines("storage.clock") == [("ok", "The clocks of this machine and the storage agree.", None)]
        assert project.lines("storage.probe") == [("ok", PROBED, None)]
    assert api.objects == {}
    assert api.seen("GET", "/object/sign/")[0].headers.get("authorization") is None


@pytest.mark.parametrize(
    ("bucket", "status", "message", "remedy"),
    [
        (
            Bucket(public=True),
            "wrong",
            "The bucket workspace-temp is public: everybody reads everything.",
            "update storage.buckets set public = false where id = 'workspace-temp';",
        ),
        (
            Bucket(allowed_mime_types=["image/*"]),
            "wrong",
            "The bucket workspace-temp does not take video/mp4.",
            f"update {BUCKETS} set allowed_mime_types = allowed_mime_types || array['video/mp4'] {OURS};",
        ),
        (
            Bucket(file_size_limit=5 * 1024**2),
            "note",
            "The bucket workspace-temp takes files of up to 5.0 MiB, and a video may be larger.",
            "update storage.buckets set file_size_limit = null where id = 'workspace-temp';",
        ),
    ],
)
def test_a_bucket_that_is_not_as_it_should_be(
    project: Patient, api: StorageServer, bucket: Bucket, status: str, message: str, remedy: str
) -> None:
    api.buckets["workspace-temp"] = bucket
    assert project.lines("storage.bucket") == [(status, message, remedy)]
    project.run("alter table storage.buckets disable row level security")
    project.run(remedy)


def test_a_bucket_that_takes_exactly_what_we_make(project: Patient, api: StorageServer) -> None:
    api.buckets["workspace-temp"] = Bucket(allowed_mime_types=TYPES, file_size_limit=52_428_800)
    [(status, _, _)] = project.lines("storage.bucket")
    assert status == "ok"


def test_a_bucket_that_is_missing(project: Patient, api: StorageServer) -> None:
    api.buckets.clear()
    project.run("set storage.allow_delete_query = 'true'; delete from storage.buckets")
    [(status, message, remedy)] = project.lines("storage.bucket")
    assert (status, message) == ("wrong", "There is no bucket workspace-temp.")
    assert remedy
    assert "consumer migrate up" in remedy
    assert project.lines("storage.probe") == [("skip", "The storage or its bucket is out of reach.", None)]


def test_a_key_that_may_not_see_the_bucket(db: Database, api: StorageServer) -> None:
    with with_key(db, api, ANON_KEY) as project:
        [(status, message, remedy)] = project.lines("storage.bucket")
    assert (status, message) == (
        "wrong",
        "SUPABASE_SECRET_KEY may not see the bucket workspace-temp: it is no secret key.",
    )
    assert remedy
    assert "SUPABASE_SECRET_KEY" in remedy


def test_a_key_that_may_not_see_the_bucket_when_nobody_can_tell_whether_there_is_one(api: StorageServer) -> None:
    nowhere = Database("none", "postgresql://u:p@127.0.0.1:1/none")
    with with_key(nowhere, api, ANON_KEY) as project:
        [(status, message, _)] = project.lines("storage.bucket")
    assert (status, message) == ("wrong", "There is no bucket workspace-temp that SUPABASE_SECRET_KEY may see.")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sb_secret_of_another_project", ": it is of an older version, which knows only JWT keys."),
        ("eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoieCJ9.c2lnbmF0dXJl", "."),
    ],
)
def test_a_key_that_is_refused(db: Database, api: StorageServer, key: str, message: str) -> None:
    with with_key(db, api, key) as project:
        [(status, told, remedy)] = project.lines("storage.bucket")
    assert (status, told) == ("wrong", f"The storage does not let SUPABASE_SECRET_KEY in{message}")
    assert key not in f"{told}{remedy}"


def test_an_address_that_is_no_storage(project: Patient, api: StorageServer) -> None:
    api.fail(html(200))
    [(status, message, _)] = project.lines("storage.bucket")
    assert (status, message) == ("wrong", "What answers at SUPABASE_URL is no storage, or not well (200).")


def test_a_redirect_is_not_followed_with_the_key(project: Patient, api: StorageServer) -> None:
    with StorageServer() as other:
        api.fail(answer(302, b"", {"Location": f"{other.url}/storage/v1/bucket/workspace-temp"}))
        [(status, message, _)] = project.lines("storage.bucket")
        assert (status, message) == ("wrong", "What answers at SUPABASE_URL is no storage, or not well (302).")
        assert other.requests == []


def test_a_storage_that_is_away(db: Database, api: StorageServer) -> None:
    api.fail(drop())
    with with_key(db, api, SECRET_KEY) as project:
        [(status, message, remedy)] = project.lines("storage.bucket")
    assert status == "wrong"
    assert message.startswith("Nothing answers at SUPABASE_URL (")
    assert remedy
    with Patient(db, supabase_url="http://127.0.0.1:1", supabase_secret_key=SECRET_KEY) as nowhere:
        assert nowhere.lines("storage.bucket")[0][1] == "Nothing answers at SUPABASE_URL (ConnectionRefusedError)."


def test_a_storage_that_hangs(project: Patient, api: StorageServer) -> None:
    api.fail(hang)
    [(status, message, _)] = project.lines("storage.bucket", limit=0.5)
    assert (status, message) == ("wrong", "There was no answer within 0.5 seconds.")
    assert project.lines("storage.clock") == [("skip", "The storage or its bucket is out of reach.", None)]


@pytest.mark.parametrize("here", [3600.0, -3600.0])
def test_a_clock_that_is_an_hour_off(project: Patient, here: float) -> None:
    [(status, message, remedy)] = project.lines("storage.clock", here=here)
    assert (status, message[-15:]) == ("wrong", " seconds apart.")
    assert remedy


def test_a_probe_that_comes_back_changed(project: Patient, api: StorageServer) -> None:
    api.fail(answer(200, b"something else", {"Content-Type": "image/png"}), method="GET", path="/object/workspace")
    [(status, message, _)] = project.lines("storage.probe")
    assert (status, message) == ("wrong", "The probe came back changed.")
    assert api.objects == {}


def test_a_signed_url_that_shows_nothing(project: Patient, api: StorageServer) -> None:
    api.fail(api_error("400", "InvalidJWT", "signature verification failed"), method="GET", path="/object/sign/")
    [(status, message, _)] = project.lines("storage.probe")
    assert (status, message) == ("wrong", "A signed URL does not show the probe.")
    assert api.objects == {}


def test_a_probe_that_anybody_reads(project: Patient, api: StorageServer) -> None:
    api.fail(answer(200, b"the probe"), method="GET", path="/object/public/")
    [(status, message, remedy)] = project.lines("storage.probe")
    assert (status, message) == ("wrong", "Anybody can read the probe, without a key.")
    assert remedy == "update storage.buckets set public = false where id = 'workspace-temp';"


def test_a_probe_that_is_refused(project: Patient, api: StorageServer) -> None:
    api.fail(api_error("413", "Payload too large", "The object exceeded the maximum allowed size"), path="doctor-")
    [(status, message, _)] = project.lines("storage.probe")
    assert status == "wrong"
    assert "workspace-temp" in message


def test_a_probe_that_cannot_be_deleted(project: Patient, api: StorageServer) -> None:
    def nothing(exchange: Exchange) -> None:
        exchange.body()
        exchange.reply(200, [])

    api.fail(nothing, method="DELETE")
    [(status, message, _)] = project.lines("storage.probe")
    assert (status, message) == ("wrong", "The probe could not be deleted.")


def test_no_key(db: Database, api: StorageServer) -> None:
    with Patient(db, supabase_url=api.url) as project:
        for check in ("settings.key", "storage.bucket"):
            [(status, message, remedy)] = project.lines(check)
            assert (status, message) == ("wrong", "SUPABASE_SECRET_KEY is not set.")
            assert remedy


def test_a_folder(patient: Patient, bare: Path) -> None:
    assert patient.lines("storage.probe") == [("ok", "A probe was stored, read back, and deleted.", None)]
    assert [path for path in bare.rglob("*") if path.is_file()] == []
    [(status, _, _)] = patient.lines("storage.bucket")
    assert status in ("ok", "note")
    assert [line[0] for line in patient.lines("storage.clock")] == ["skip"]


def test_a_folder_that_cannot_be_written_to(db: Database, bare: Path) -> None:
    blocked = bare / "blocked"
    blocked.write_text("a file, and no folder")
    with Patient(db, storage_dir=blocked) as patient:
        [(status, message, _)] = patient.lines("storage.probe")
    assert status == "wrong"
    assert "CONSUMER_STORAGE_DIR" in message


def test_a_disk_that_is_full(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(".").f_bavail * os.statvfs(".").f_frsize
    monkeypatch.setattr("consumer.doctor.storage.ROOM", free * 2)
    [(status, message, remedy)] = patient.lines("storage.bucket")
    assert (status, message[:22]) == ("wrong", "The local storage has ")
    assert remedy == "Make room, or set CONSUMER_STORAGE_DIR."
