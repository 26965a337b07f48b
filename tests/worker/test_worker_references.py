"""A whole worker whose jobs refer to pictures: whose they are, how often they are fetched, what is told of them."""

import json
import threading
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from PIL import Image

from stand_in import SECRET_KEY, Bucket, StorageServer, faults
from stand_in.wire import Exchange
from user_jobs import UserJobs
from workers import Site, Worker

SMALL = {"width": 64, "height": 64, "steps": 2}
TOKEN = "token-that-nobody-may-hear-of"


@pytest.fixture
def api():
    """The storage of a project."""
    with StorageServer() as api:
        yield api


def photo() -> bytes:
    """Taken with the camera held upright: stored lying, and seen with the red half on top and the blue one below."""
    upright = Image.new("RGB", (64, 64), "red")
    upright.paste("blue", (0, 32, 64, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def check_copy(data: bytes) -> None:
    """The result shows the photo, upright, and nothing else."""
    with Image.open(BytesIO(data)) as image:
        pixels = np.asarray(image).astype(int)
    assert np.abs(pixels[:30] - [255, 0, 0]).max() <= 1
    assert np.abs(pixels[34:] - [0, 0, 255]).max() <= 1


def check_failed(jobs: UserJobs, job: UUID, worker: Worker, message: str, attempts: int = 1) -> None:
    """The job and its pictures failed with this sentence, and nothing tells what was referred to."""
    row = jobs.get(job)
    assert (row["status"], row["error_message"], row["attempts"]) == ("failed", message, attempts)
    assert {(image["status"], image["error_message"]) for image in jobs.images(job)} == {("failed", message)}
    assert TOKEN not in worker.output
    assert TOKEN not in json.dumps([row["error_message"], row["errors"]])


def test_a_picture_in_the_users_folder_becomes_part_of_the_result(site: Site, jobs: UserJobs) -> None:
    sent = {"exact_copy_mode": True, **SMALL}
    submitted = []
    for bucket in ("", "workspace-temp/", "user-library/"):
        path = f"{jobs.user}/photo{len(submitted)}.png"
        put(site.storage / (bucket or "workspace-temp") / path, photo())
        submitted.append(jobs.submit("", 1, "sdxl_image_fast", reference_image_url=bucket + path, **sent))
    assert site.start("--drain-and-exit", engines="sketch").wait() == 0
    for job in submitted:
        [image] = jobs.images(job)
        assert image["status"] == "completed"
        check_copy(site.file(image["image_url"]).read_bytes())
        told = {name: image["metadata"][f"reference_{name}"] for name in ("width", "height", "strength")}
        assert told == {"width": 64, "height": 64, "strength": 1}


def test_a_reference_that_cannot_be_had_fails_the_job_at_once(site: Site, jobs: UserJobs) -> None:
    other = uuid4()
    put(site.file(f"{other}/{TOKEN}.png"), photo())
    own = "reference_image_url must be an https address, or the path of a picture in the user's own folder."
    inside = "reference_image_url could not be had: its host is not on the public internet."
    sentences = {
        f"{other}/{TOKEN}.png": own,
        f"workspace-temp/{other}/{TOKEN}.png": own,
        f"{jobs.user}/../{other}/{TOKEN}.png": own,
        f"http://pictures.example/{TOKEN}.png": own,
        f"{jobs.user}/{TOKEN}.png": "reference_image_url could not be had: the local storage has no such object.",
        f"https://127.0.0.1/photo.png?{TOKEN}": inside,
        f"https://localhost/photo.png?{TOKEN}": inside,
    }
    submitted = {
        jobs.submit("a fox", 2, "sdxl_image_fast", reference_image_url=value, **SMALL): sentence
        for value, sentence in sentences.items()
    }
    worker = site.start("--drain-and-exit", engines="sketch")
    assert worker.wait() == 0
    for job, sentence in submitted.items():
        check_failed(jobs, job, worker, sentence)
    assert str(other) not in worker.output


def test_a_reference_that_the_engine_cannot_use_is_not_dropped(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("a fox", 1, reference_image_url=f"{jobs.user}/photo.png")
    worker = site.start("--once")
    assert worker.wait() == 0
    check_failed(jobs, job, worker, "reference_image_url is not supported by the puppet engine.")
    assert not site.drawn()


def variables(api: StorageServer) -> dict[str, Any]:
    project = {"storage": "supabase", "SUPABASE_URL": api.url, "SUPABASE_SECRET_KEY": SECRET_KEY}
    return {**project, "engines": "sketch", "lease_seconds": "20", "upload_seconds": "2"}


def test_a_reference_is_fetched_once_for_all_pictures_of_an_attempt(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    api.buckets["user-library"] = Bucket()
    api.put(f"{jobs.user}/photo.png", photo(), bucket="user-library")
    path = f"user-library/{jobs.user}/photo.png"
    job = jobs.submit("", 3, "sdxl_image_fast", reference_image_url=path, exact_copy_mode=True, **SMALL)
    assert site.start("--drain-and-exit", **variables(api)).wait() == 0
    images = jobs.images(job)
    assert [image["status"] for image in images] == ["completed"] * 3
    for image in images:
        check_copy(api.stored(image["image_url"]).data)
    assert len(api.seen("GET", path)) == 1


def test_what_two_fields_of_a_video_refer_to_is_fetched_once(site: Site, jobs: UserJobs, api: StorageServer) -> None:
    api.put(f"{jobs.user}/photo.png", photo())
    path = f"{jobs.user}/photo.png"
    job = jobs.submit("a fox", 1, "video_fast", first_frame=path, last_frame=path, num_frames=5, fps=8, **SMALL)
    assert site.start("--drain-and-exit", **variables(api)).wait() == 0
    [video] = jobs.videos(job)
    assert (video["status"], video["metadata"]["start_reference_width"]) == ("completed", 64)
    assert len(api.seen("GET", path)) == 1


def test_a_reference_that_comes_later_is_fetched_by_the_next_attempt(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    api.put(f"{jobs.user}/photo.png", photo())
    api.fail(faults.html(503), method="GET", path="photo.png")
    sent = {"reference_image_url": f"{jobs.user}/photo.png", "exact_copy_mode": True, **SMALL}
    job = jobs.submit("", 1, "sdxl_image_fast", **sent)
    worker = site.start(**variables(api))
    worker.wait_for("job.retry", job_id=job, attempt=1)
    jobs.hurry(job)
    worker.wait_for("job.completed", job_id=job, attempt=2)
    check_copy(api.stored(jobs.images(job)[0]["image_url"]).data)
    assert len(api.seen("GET", "photo.png")) == 2


def test_a_bucket_that_the_project_lacks_fails_the_job_and_not_the_worker(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    sent = {"reference_image_url": f"user-library/{jobs.user}/{TOKEN}.png", **SMALL}
    job = jobs.submit("a fox", 1, "sdxl_image_fast", **sent)
    worker = site.start("--drain-and-exit", **variables(api))
    assert worker.wait() == 0
    check_failed(jobs, job, worker, "reference_image_url could not be had: the project has no bucket user-library.")


def test_a_storage_that_answers_nothing_costs_no_attempt(site: Site, jobs: UserJobs, api: StorageServer) -> None:
    api.put(f"{jobs.user}/photo.png", photo())
    worker = site.start_idle(**variables(api) | {"upload_seconds": "0.3"})
    api.fail(faults.html(503), times=1_000_000)
    sent = {"reference_image_url": f"{jobs.user}/photo.png", "exact_copy_mode": True, **SMALL}
    job = jobs.submit("", 1, "sdxl_image_fast", **sent)
    worker.wait_for("job.release", job_id=job)
    api.mend()
    assert worker.wait_for("job.claimed", count=2, job_id=job)["attempt"] == 1
    worker.wait_for("job.completed", job_id=job)


def test_a_job_that_is_cancelled_does_not_wait_for_its_reference(
    site: Site, jobs: UserJobs, api: StorageServer
) -> None:
    held = threading.Event()
    asked = threading.Event()

    def hold(exchange: Exchange) -> None:
        asked.set()
        held.wait(60)
        exchange.act()

    api.put(f"{jobs.user}/photo.png", photo())
    api.fail(hold, method="GET", path="photo.png")
    worker = site.start_idle(**variables(api))
    job = jobs.submit("", 1, "sdxl_image_fast", reference_image_url=f"{jobs.user}/photo.png", exact_copy_mode=True)
    try:
        assert asked.wait(20)
        jobs.cancel(job)
        worker.wait_for("job.cancelled", job_id=job, seconds=10)
    finally:
        held.set()
