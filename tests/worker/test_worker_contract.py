"""What a frontend relies on, field by field, for jobs that the engine sketch made."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import av
import numpy as np
from PIL import Image

from user_jobs import UserJobs
from workers import Site

BUCKET = "workspace-temp"
MEASURED = {
    *("width", "height", "format", "mime_type", "file_size_bytes", "seed", "asset_index"),
    *("batch_size", "steps", "guidance_scale"),
}
SENT = {"width": 320, "height": 192, "steps": 3, "guidance_scale": 5.5, "negative_prompt": "fog", "mine": [1, 2]}


def run_once(site: Site, engines: str = "sketch", **settings: str) -> None:
    worker = site.start("--once", engines=engines, **settings)
    assert worker.wait() == 0, worker.output


def names(site: Site, folder: str) -> set[str]:
    return {path.name for path in site.file(folder).iterdir()}


def check_image(site: Site, row: dict[str, Any], folder: str, index: int, seed: int) -> None:
    """One picture's row, its file and its thumbnail."""
    assert row["image_url"] == f"{folder}/{index}.png"
    assert row["thumbnail_url"] == f"{folder}/{index}.thumb.webp"
    size = site.file(row["image_url"]).stat().st_size
    assert row["metadata"] == {
        "width": 320, "height": 192, "format": "png", "mime_type": "image/png", "file_size_bytes": size,
        "seed": seed, "asset_index": index, "batch_size": 1, "steps": 3, "guidance_scale": 5.5, "bucket": BUCKET,
    }  # fmt: skip
    columns = {
        "status": "completed", "seed": seed, "file_size": size, "format": "png", "progress": 100, "title": None,
        "error_message": None, "image_urls": None, "prompt": "a lighthouse",
    }  # fmt: skip
    assert {name: row[name] for name in columns} == columns
    assert row["updated_at"] > row["created_at"]
    with Image.open(site.file(row["image_url"])) as picture:
        picture.load()
        assert (picture.format, picture.size, picture.mode) == ("PNG", (320, 192), "RGB")
    with Image.open(site.file(row["thumbnail_url"])) as small:
        small.load()
        assert (small.format, small.size) == ("WEBP", (256, 154))


def test_a_completed_image_job_keeps_the_contract(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("a lighthouse", 2, "sdxl_image_fast", seed=41, **SENT)
    run_once(site)
    row, images = jobs.get(job), jobs.images(job)
    folder = f"{jobs.user}/{job}"
    assert names(site, folder) == {"0.png", "0.thumb.webp", "1.png", "1.thumb.webp"}
    for index, image in enumerate(images):
        check_image(site, image, folder, index, 41 + index)
    columns = {
        "status": "completed", "error_message": None, "attempts": 1, "worker_id": None, "errors": [],
        "image_id": images[0]["id"], "video_id": None, "queue_at": None, "original_prompt": "a lighthouse",
    }  # fmt: skip
    assert {name: row[name] for name in columns} == columns
    assert row["created_at"] <= row["started_at"] <= row["completed_at"]
    assert row["metadata"] == {
        **SENT, "num_images": 2, "seed": 41, "progress": 100,
        "assets": [
            {
                "type": "image",
                "url": image["image_url"],
                "thumbnail_url": image["thumbnail_url"],
                "metadata": {name: image["metadata"][name] for name in MEASURED},
            }
            for image in images
        ],
    }  # fmt: skip


def test_a_job_without_a_seed_gets_one_that_is_stored(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("a lighthouse", 2, "sdxl_image_fast", **{**SENT, "seed": None})
    run_once(site)
    seed = jobs.get(job)["metadata"]["seed"]
    assert 0 <= seed < 2**31
    assert [image["seed"] for image in jobs.images(job)] == [seed, seed + 1]


def check_failed(jobs: UserJobs, job: UUID, sent: dict[str, Any], kind: str, message: str) -> str:
    """The row of a failed job; returns the traceback that it holds."""
    row = jobs.get(job)
    columns = {
        "status": "failed", "error_message": message, "attempts": 1, "worker_id": None, "image_id": None,
        "queue_at": None, "available_at": None,
    }  # fmt: skip
    assert {name: row[name] for name in columns} == columns
    assert row["completed_at"] >= row["started_at"]
    metadata = dict(row["metadata"])
    traceback = metadata.pop("traceback")
    told = datetime.fromisoformat(metadata.pop("timestamp"))
    assert row["started_at"] <= told <= row["completed_at"]
    assert metadata.pop("progress", 0) < 100
    assert metadata == {**sent, "error_type": kind, "job_type": row["job_type"]}
    [error] = row["errors"]
    assert (error["attempt"], error["type"], error["message"], error["traceback"]) == (1, kind, message, traceback)
    for image in jobs.images(job):
        assert (image["status"], image["error_message"], image["image_url"]) == ("failed", message, None)
    return traceback


def test_a_rejected_job_keeps_the_contract(site: Site, jobs: UserJobs) -> None:
    sent = {**SENT, "steps": 101, "num_images": 2, "seed": 41}
    job = jobs.submit("a lighthouse", 2, "sdxl_image_fast", **sent)
    run_once(site)
    check_failed(jobs, job, sent, "RejectedError", "steps must be a whole number from 1 to 100.")


def test_a_job_that_broke_keeps_the_contract(site: Site, jobs: UserJobs) -> None:
    sent = {"num_images": 2, "seed": 41, "raises": "ValueError"}
    job = jobs.submit("a lighthouse", 2, **sent)
    run_once(site, engines="puppet", max_attempts="1")
    traceback = check_failed(jobs, job, sent, "ValueError", "An internal error stopped this job.")
    assert 0 < len(traceback) <= 1000
    assert "a lighthouse" not in json.dumps([jobs.get(job)["errors"], traceback])


def frames_of(site: Site, path: str) -> list[np.ndarray]:
    with av.open(str(site.file(path))) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def test_a_completed_video_job_keeps_the_contract(site: Site, jobs: UserJobs) -> None:
    sent = {"width": 96, "height": 64, "steps": 2, "num_frames": 21, "fps": 8, "motion_intensity": 1}
    job = jobs.submit("a lighthouse", 1, "video_fast", seed=41, **sent)
    run_once(site)
    row, [video], folder = jobs.get(job), jobs.videos(job), f"{jobs.user}/{job}"
    assert names(site, folder) == {"0.mp4", "0.thumb.webp"}
    assert (video["video_url"], video["thumbnail_url"]) == (f"{folder}/0.mp4", f"{folder}/0.thumb.webp")
    size = site.file(video["video_url"]).stat().st_size
    columns = {
        "status": "completed", "seed": 41, "file_size": size, "format": "mp4", "progress": 100, "image_index": 0,
        "error_message": None, "duration": 3, "resolution": "96x64",
    }  # fmt: skip
    assert {name: video[name] for name in columns} == columns
    assert video["completed_at"] is not None
    measured = {
        "width": 96, "height": 64, "format": "mp4", "mime_type": "video/mp4", "file_size_bytes": size, "seed": 41,
        "asset_index": 0, "batch_size": 1, "steps": 2, "guidance_scale": 6.5, "duration_seconds": 21 / 8,
        "num_frames": 21, "fps": 8,
    }  # fmt: skip
    assert video["metadata"] == {**measured, "bucket": BUCKET}
    assert row["metadata"]["assets"] == [
        {"type": "video", "url": video["video_url"], "thumbnail_url": video["thumbnail_url"], "metadata": measured}
    ]
    assert (row["status"], row["video_id"], row["image_id"]) == ("completed", video["id"], None)
    assert row["metadata"]["progress"] == 100
    check_video_files(site, video)


def check_video_files(site: Site, video: dict[str, Any]) -> None:
    """The video has its frames, and the thumbnail is nearest to the middle one."""
    frames = frames_of(site, video["video_url"])
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 21
    with Image.open(site.file(video["thumbnail_url"])) as small:
        assert (small.format, small.size) == ("WEBP", (96, 64))
        thumbnail = np.asarray(small.convert("RGB")).astype(int)
    distances = [np.abs(frame - thumbnail).mean() for frame in frames]
    assert distances.index(min(distances)) in (9, 10, 11)
