"""A whole worker that stores in a bucket: what is there afterwards, and what a storage in trouble does to a job."""

from collections.abc import Iterator
from io import BytesIO
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from stand_in import ANON_KEY, LEGACY_KEY, SECRET_KEY, Bucket, StorageServer, faults
from user_jobs import UserJobs
from workers import Row, Site, Worker, eventually

LONG_LEASE = {"lease_seconds": "20", "upload_seconds": "2"}
PICTURES = "/object/workspace-temp/"


@pytest.fixture
def api() -> Iterator[StorageServer]:
    """The storage of a project."""
    with StorageServer() as api:
        yield api


def variables(api: StorageServer, **more: str) -> dict[str, str]:
    return {"storage": "supabase", "SUPABASE_URL": api.url, "SUPABASE_SECRET_KEY": SECRET_KEY, **LONG_LEASE, **more}


def check_stored(api: StorageServer, image: Row) -> None:
    """The row is that of a finished picture, and its object holds it, in the colour of its seed, with a thumbnail."""
    assert image["status"] == "completed"
    stored = api.stored(image["image_url"])
    assert (stored.content_type, stored.cache_control) == ("image/png", "max-age=3600")
    assert len(stored.data) == image["file_size"]
    with Image.open(BytesIO(stored.data)) as picture:
        colours = np.asarray(picture).reshape(-1, 3)
    assert {int.from_bytes(colour.tobytes(), "big") for colour in colours} == {image["seed"]}
    small = api.stored(image["thumbnail_url"])
    assert small.content_type == "image/webp"
    with Image.open(BytesIO(small.data)) as picture:
        assert picture.format == "WEBP"


def check_delivered(api: StorageServer, jobs: UserJobs, job: UUID, count: int) -> None:
    """The job took one attempt, and the bucket holds its pictures and nothing else of it."""
    row, images = jobs.get(job), jobs.images(job)
    assert (row["status"], row["attempts"], row["errors"]) == ("completed", 1, [])
    assert len(images) == count
    for image in images:
        check_stored(api, image)
    folder = f"{jobs.user}/{job}"
    assert [image["image_url"] for image in images] == [f"{folder}/{n}.png" for n in range(count)]
    expected = {f"{folder}/{n}{kind}" for n in range(count) for kind in (".png", ".thumb.webp")}
    assert {key for _, key in api.objects if key.startswith(folder)} == expected


def check_discreet(worker: Worker, api: StorageServer, jobs: UserJobs) -> None:
    """Nothing that was printed has a key, an address or a user's id."""
    assert worker.output
    assert not [secret for secret in (SECRET_KEY, LEGACY_KEY, api.url, str(jobs.user)) if secret in worker.output]


@pytest.mark.parametrize("key", [SECRET_KEY, LEGACY_KEY], ids=["sb_secret", "legacy"])
def test_the_pictures_of_a_job_are_in_the_bucket(site: Site, jobs: UserJobs, api: StorageServer, key: str) -> None:
    job = jobs.submit("job", 3)
    worker = site.start("--drain-and-exit", **variables(api, SUPABASE_SECRET_KEY=key))
    assert worker.wait() == 0
    check_delivered(api, jobs, job, 3)
    assert not site.storage.exists()
    check_discreet(worker, api, jobs)


def test_a_storage_in_trouble_for_a_while_costs_no_attempt(site: Site, jobs: UserJobs, api: StorageServer) -> None:
    for fault in (
        faults.html(502), faults.answer(503, {"message": "no"}), faults.too_many("1"), faults.api_error("544"),
        faults.html(200), faults.drop(100), faults.drop(0), faults.early_error("423"),
    ):  # fmt: skip
        api.fail(fault, path=PICTURES)
    job = jobs.submit("job", 3)
    worker = site.start("--drain-and-exit", **variables(api))
    assert worker.wait() == 0
    check_delivered(api, jobs, job, 3)
    assert len(site.drawn()) == 3
    assert len(api.seen("POST", PICTURES)) == 6 + 8


def test_an_upload_whose_answer_is_lost_makes_one_result(site: Site, jobs: UserJobs, api: StorageServer) -> None:
    api.fail(faults.lost_reply, path="/0.png")
    api.fail(faults.lost_reply, path="/1.thumb.webp")
    job = jobs.submit("job", 2)
    assert site.start("--drain-and-exit", **variables(api)).wait() == 0
    check_delivered(api, jobs, job, 2)
    assert len(api.seen("POST", PICTURES)) == 4 + 2


def test_a_storage_that_stays_away_costs_an_attempt_and_the_next_one_makes_what_is_missing(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    api.fail(faults.html(503), times=10_000, path="/1.png")
    job = jobs.submit("job", 2)
    worker = site.start(**variables(api, upload_seconds="0.3"))
    worker.wait_for("job.retry", job_id=job, attempt=1)
    [error] = jobs.get(job)["errors"]
    assert error["type"] == "StorageUnavailableError"
    assert error["message"] == "The storage with the bucket workspace-temp is not available (503)."
    api.mend()
    jobs.hurry(job)
    worker.wait_for("job.completed", job_id=job, attempt=2)
    assert [line["index"] for line in site.drawn()] == [0, 1, 1]
    for image in jobs.images(job):
        check_stored(api, image)
    check_discreet(worker, api, jobs)


def test_a_file_that_the_bucket_does_not_take_fails_the_job_with_a_sentence(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    api.buckets["workspace-temp"] = Bucket(file_size_limit=10)
    job = jobs.submit("job", 3)
    assert site.start("--drain-and-exit", **variables(api)).wait() == 0
    row = jobs.get(job)
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["error_message"].startswith("The file is larger than the bucket workspace-temp takes: ")
    assert "file_size_limit" in row["error_message"]
    assert len(api.seen("POST", PICTURES)) == 3, "each picture was tried once"


def test_a_key_that_is_withdrawn_gives_the_job_back_and_ends_the_worker(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    worker = site.start_idle(**variables(api))
    api.keys.clear()
    job = jobs.submit("job", 3)
    assert worker.wait() == 3
    row = jobs.get(job)
    assert (row["status"], row["attempts"], row["errors"]) == ("queued", 0, [])
    assert worker.events("job.release", job_id=job)
    assert "SUPABASE_SECRET_KEY" in worker.output
    check_discreet(worker, api, jobs)


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"SUPABASE_SECRET_KEY": "sb_secret_wrong"}, 3, "SUPABASE_SECRET_KEY into the bucket workspace-temp"),
        ({"SUPABASE_SECRET_KEY": ANON_KEY}, 3, "SUPABASE_SECRET_KEY"),
        ({"bucket": "elsewhere"}, 3, "no bucket elsewhere"),
        ({"SUPABASE_SECRET_KEY": ""}, 2, "SUPABASE_SECRET_KEY is not set"),
    ],
)
def test_a_storage_that_cannot_work_is_told_before_a_job_is_claimed(
    site: Site, jobs: UserJobs, api: StorageServer, wrong: dict[str, str], code: int, words: str
) -> None:
    job = jobs.submit("job")
    worker = site.start(**variables(api, **wrong))
    assert worker.wait() == code
    assert words in worker.output
    assert not worker.events("job.claimed")
    assert (jobs.get(job)["status"], jobs.get(job)["attempts"]) == ("queued", 0)
    check_discreet(worker, api, jobs)


def test_a_storage_that_is_away_at_the_start_is_told_and_waited_for(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    api.fail(faults.html(503), path="/bucket/")
    api.fail(faults.html(503), times=3, path=PICTURES)
    job = jobs.submit("job")
    worker = site.start("--drain-and-exit", **variables(api))
    assert worker.wait() == 0
    told = worker.events("storage.away", level="warning")
    assert told[0]["error"].endswith("The storage with the bucket workspace-temp is not available (503).")
    names = [event["event"] for event in worker.events()]
    assert names.index("storage.back") < names.index("job.claimed"), "nothing is claimed while it is away"
    assert [name for name in names if name.startswith("storage.")] == ["storage.away", "storage.back"] * 2
    check_delivered(api, jobs, job, 1)


def test_an_outage_of_the_storage_costs_no_attempt_and_no_second_job(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    health = site.directory / "health"
    worker = site.start_idle(**variables(api) | {"upload_seconds": "0.3", "health_file": str(health)})
    api.fail(faults.html(503), times=1_000_000)
    first = jobs.submit("job")
    worker.wait_for("storage.away")
    worker.wait_for("job.release", job_id=first)
    later = jobs.submit("job")
    eventually(lambda: '"storage":"away"' in health.read_text(), "it tells")
    api.mend()
    worker.wait_for("storage.back")
    for job in (first, later):
        worker.wait_for("job.completed", job_id=job)
        check_delivered(api, jobs, job, 1)
    [begun] = worker.events("job.claimed", job_id=later)
    assert begun["attempt"] == 1
    assert len(worker.events("job.claimed", job_id=first)) == 2
