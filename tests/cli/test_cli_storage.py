"""`consumer storage`: addresses and objects of a job, and objects that no row tells of."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen
from uuid import UUID, uuid4

import pytest

from commands import Command
from consumer.unrecorded import KEY
from jobs import Jobs
from postgres import Database
from stand_in import SECRET_KEY, StorageServer
from stand_in.faults import api_error
from workers import Site

BUCKET = "workspace-temp"
DAYS = 48 * 3600


@pytest.fixture
def jobs(db: Database) -> Jobs:
    return Jobs(db)


def record(jobs: Jobs, job_id: UUID, index: int, url: str, thumbnail_url: str | None = None) -> None:
    jobs.run(
        "update public.images set status = 'completed', image_url = %s, thumbnail_url = %s"
        " where job_id = %s and image_index = %s",
        url, thumbnail_url, job_id, index,
    )  # fmt: skip


def put(bare: Path, key: str, seconds: float = DAYS) -> Path:
    """A file in the local storage, so many seconds old."""
    path = bare / "storage" / BUCKET / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"pixels")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def fetch(url: str) -> bytes:
    """What an address shows."""
    with urlopen(url) as reply:
        data: bytes = reply.read()
    return data


@pytest.fixture
def bucket(connected: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageServer]:
    """The storage of a project, which the settings name."""
    with StorageServer() as server:
        monkeypatch.setenv("SUPABASE_URL", server.url)
        monkeypatch.setenv("SUPABASE_SECRET_KEY", SECRET_KEY)
        yield server


def test_sign_prints_one_address_a_line_and_each_shows_its_object(connected: Command, bucket, jobs: Jobs) -> None:
    job_id = jobs.add(count=2)
    where = f"{jobs.user}/{job_id}"
    contents = {f"{where}/{name}": name.encode() for name in ("0.png", "0.thumb.webp", "1.png", "1.thumb.webp")}
    for key, data in contents.items():
        bucket.put(key, data)
    for index in (1, 0):
        record(jobs, job_id, index, f"{where}/{index}.png", f"{where}/{index}.thumb.webp")
    signed = connected("storage", "sign", str(job_id)[:8])
    assert (signed.code, signed.err) == (0, "")
    assert [fetch(line) for line in signed.out.splitlines()] == list(contents.values())


@pytest.mark.parametrize(("options", "seconds"), [((), 3600), (("--seconds", 7), 7)])
def test_an_address_is_good_for_as_long_as_asked_for(connected: Command, bucket, jobs: Jobs, options, seconds) -> None:
    job_id = jobs.add()
    key = f"{jobs.user}/{job_id}/0.png"
    bucket.put(key, b"pixels")
    record(jobs, job_id, 0, key)
    assert connected("storage", "sign", job_id, *options).code == 0
    [(_, signed, end)] = bucket.tokens.values()
    assert signed == key
    assert abs(end - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5)


def test_sign_says_what_is_missing(connected: Command, bucket, jobs: Jobs) -> None:
    job_id = jobs.add(count=4)
    where = f"{jobs.user}/{job_id}"
    for name in ("0.png", "1.png"):
        bucket.put(f"{where}/{name}", name.encode())
    record(jobs, job_id, 0, f"{where}/0.png")
    record(jobs, job_id, 1, f"{where}/1.png", f"{where}/1.thumb.webp")
    record(jobs, job_id, 2, f"{where}/2.png", f"{where}/2.thumb.webp")
    signed = connected("storage", "sign", job_id)
    assert [fetch(line) for line in signed.out.splitlines()] == [b"0.png", b"1.png"]
    assert (signed.code, signed.err.splitlines()) == (
        1,
        [
            "The bucket workspace-temp does not have the thumbnail of image 1, which its row names.",
            "The bucket workspace-temp does not have image 2, which its row names.",
            "The bucket workspace-temp does not have the thumbnail of image 2, which its row names.",
            "There is no result yet for image 3.",
        ],
    )


def test_sign_as_json_has_paths_and_addresses(connected: Command, bucket, jobs: Jobs) -> None:
    job_id = jobs.add("wan_video_fast")
    key = f"{jobs.user}/{job_id}/0.mp4"
    bucket.put(key, b"frames")
    jobs.run("update public.videos set video_url = %s, thumbnail_url = 'gone' where job_id = %s", key, job_id)
    signed = connected("storage", "sign", job_id, "--json")
    [video] = signed.json
    assert fetch(video.pop("url")) == b"frames"
    assert video == {
        "medium": "video", "index": 0, "path": key, "thumbnail_path": "gone", "thumbnail_url": None,
    }  # fmt: skip
    assert signed.code == 1


def test_sign_shows_nothing_of_another_user(connected: Command, bucket, jobs: Jobs, db: Database) -> None:
    job_id, other = jobs.add(), db.user()
    bucket.put(f"{other}/{uuid4()}/0.png", b"private")
    [(_, theirs)] = bucket.objects
    record(jobs, job_id, 0, theirs)
    signed = connected("storage", "sign", job_id)
    assert (signed.code, signed.out) == (1, "")
    assert not bucket.tokens
    assert signed.err == "The row of image 0 names what is not in the folder of its user.\n"


def test_sign_of_files_gives_their_addresses(connected: Command, bare: Path, jobs: Jobs) -> None:
    job_id = jobs.add()
    path = put(bare, f"{jobs.user}/{job_id}/0.png")
    record(jobs, job_id, 0, f"{jobs.user}/{job_id}/0.png", f"{jobs.user}/{job_id}/../0.thumb.webp")
    signed = connected("storage", "sign", job_id)
    assert signed.out == f"{path.as_uri()}\n"
    assert signed.err == "The row of the thumbnail of image 0 names what is not in the folder of its user.\n"


def test_ls_tells_which_objects_are_recorded(connected: Command, bucket, jobs: Jobs) -> None:
    job_id = jobs.add(count=2)
    where = f"{jobs.user}/{job_id}"
    for index in (0, 1):
        bucket.put(f"{where}/{index}.png", b"x" * (1500 + index)).created_at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    bucket.put(f"{jobs.user}/{uuid4()}/0.png", b"of another job")
    record(jobs, job_id, 0, f"{where}/0.png")
    told = {"created_at": "2026-01-02T03:04:00+00:00"}
    listed = connected("storage", "ls", str(job_id)[:6], "--json")
    assert (listed.code, listed.json) == (
        0,
        [
            {"key": f"{where}/0.png", "size": 1500, "recorded": True, **told},
            {"key": f"{where}/1.png", "size": 1501, "recorded": False, **told},
        ],
    )
    rows = [line.split() for line in connected("storage", "ls", job_id).out.splitlines() if where in line]
    assert [(row[0], row[1:3], row[-1]) for row in rows] == [
        (f"{where}/0.png", ["1.5", "kB"], "yes"),
        (f"{where}/1.png", ["1.5", "kB"], "no"),
    ]


def test_ls_of_a_job_without_objects_says_so(connected: Command, jobs: Jobs) -> None:
    job_id = jobs.add()
    assert connected("storage", "ls", job_id).out == "No objects.\n"
    assert connected("storage", "ls", job_id, "--json").json == []


def test_what_a_worker_stores_is_recorded_and_has_the_form_that_the_sweep_knows(
    connected: Command, site: Site, jobs: Jobs
) -> None:
    wanted = {"prompt": "a lake", "width": 256, "height": 256, "num_frames": 5}
    made = [jobs.add("sdxl_image_fast", count=2, metadata=wanted), jobs.add("wan_video_fast", metadata=wanted)]
    assert site.start("--drain-and-exit", engines="sketch").wait(60) == 0
    objects = [found for job_id in made for found in connected("storage", "ls", job_id, "--json").json]
    assert len(objects) == 6
    assert all(found["recorded"] for found in objects)
    assert all(KEY.fullmatch(found["key"]) for found in objects)
    assert [connected("storage", "sign", job_id).code for job_id in made] == [0, 0]
    assert connected("storage", "sweep", "--older-than", "0s").out == "Nothing was found that no row tells of.\n"
    for job_id in made:
        jobs.run("delete from public.jobs where id = %s", job_id)
    left = connected("storage", "sweep", "--older-than", "0s", "--json", "--delete").out.splitlines()
    assert sorted(json.loads(line)["key"] for line in left) == sorted(found["key"] for found in objects)
    assert not [path for path in site.storage.rglob("*") if path.is_file()]


def test_sweep_lists_with_a_total_and_removes_only_when_told_to(connected: Command, bare: Path, jobs: Jobs) -> None:
    where = f"{jobs.user}/{uuid4()}"
    paths = [put(bare, f"{where}/0.png"), put(bare, f"{where}/0.thumb.webp")]
    young, foreign = put(bare, f"{where}/1.png", seconds=60), put(bare, "avatars/me.png")
    listed = connected("storage", "sweep")
    assert (listed.code, listed.out.splitlines()) == (
        0,
        [
            f"{where}/0.png  6 bytes  2 d ago",
            f"{where}/0.thumb.webp  6 bytes  2 d ago",
            "No row tells of 2 objects, 12 bytes; --delete removes them.",
        ],
    )
    assert all(path.exists() for path in paths)
    removed = connected("storage", "sweep", "--delete")
    assert (removed.code, removed.out.splitlines()[-1]) == (0, "Removed 2 objects, 12 bytes.")
    assert not any(path.exists() for path in paths)
    assert young.exists()
    assert foreign.exists()
    for options in ((), ("--delete",)):
        assert connected("storage", "sweep", *options).out == "Nothing was found that no row tells of.\n"


def test_sweep_as_json_is_an_object_a_line(connected: Command, bare: Path, jobs: Jobs, db: Database) -> None:
    key = f"{jobs.user}/{uuid4()}/0.mp4"
    path = put(bare, key, seconds=3 * 3600)
    put(bare, f"{db.user()}/{uuid4()}/0.mp4", seconds=3 * 3600)
    moment = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    told = {"key": key, "size": 6, "created_at": moment}
    asked = ("storage", "sweep", "--json", "--older-than", "2h", "--user", jobs.user)
    assert connected(*asked).json == {**told, "removed": False}
    assert connected(*asked, "--delete").json == {**told, "removed": True}
    assert connected(*asked).out == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sweep", "--older-than", "24"), "up to 99999 with s, m, h or d after it, such as 24h."),
        (("sweep", "--older-than", "-1h"), "expected one argument"),
        (("sweep", "--older-than", "999999d"), "up to 99999 with s, m, h or d after it, such as 24h."),
        (("sweep", "--user", "ada"), "argument --user: must be a UUID."),
        (("sign", "abcdef", "--seconds", "0"), "argument --seconds: must be a whole number from 1 to 31622400."),
        (("sign", "abcdef", "--seconds", "1e9"), "argument --seconds: must be a whole number from 1 to 31622400."),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(connected: Command, capsys, arguments, sentence) -> None:
    with pytest.raises(SystemExit) as ended:
        connected("storage", *arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(sentence)


def test_an_age_before_all_time_is_no_error(connected: Command) -> None:
    assert connected("storage", "sweep", "--older-than", "99999d").code == 0


def test_no_such_job_is_said(connected: Command) -> None:
    for action in ("sign", "ls"):
        refused = connected("storage", action, "abcdef")
        assert (refused.code, refused.err) == (
            2,
            "There is no job abcdef; `consumer jobs list` shows the newest ones.\n",
        )


def test_a_key_that_the_storage_refuses_ends_with_the_code_of_an_unusable_storage(
    connected: Command, bucket, jobs: Jobs
) -> None:
    bucket.keys.clear()
    refused = connected("storage", "ls", jobs.add())
    assert refused.code == 3
    assert "SUPABASE_SECRET_KEY" in refused.err
    assert SECRET_KEY not in refused.err
    bucket.keys.add(SECRET_KEY)
    bucket.fail(api_error("503"), times=99)
    refused = connected("storage", "sweep")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "is not available" in refused.err
