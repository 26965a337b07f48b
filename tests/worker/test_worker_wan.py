"""Whole jobs of WAN with tiny random weights, through a worker process: the rows, the files, the thumbnails."""

import io
import struct
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from consumer.engines.tiny_wan import BUILDERS
from user_jobs import UserJobs
from workers import Site

pytestmark = pytest.mark.models

STARTING = 90.0
SENT = {"width": 64, "height": 64, "steps": 2, "guidance_scale": 5.5, "negative_prompt": "fog", "seed": 41}
DRAWN = {
    "model": "tiny", "steps": 2, "guidance_scale": 5.5, "scheduler": "unipc", "flow_shift": 3.0, "batch_size": 1,
    "dtype": "float32", "seed": 41, "asset_index": 0, "bucket": "workspace-temp",
}  # fmt: skip


def tops(data: bytes) -> list[bytes]:
    """The names of the outermost boxes of an MP4, in order."""
    names, place = [], 0
    while place < len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        names.append(name)
        place += size
    return names


def check_video(site: Site, video: dict[str, Any], folder: str, expected: dict[str, Any]) -> None:
    """A video's row, its file and its thumbnail, which is the middle frame."""
    assert (video["video_url"], video["thumbnail_url"]) == (f"{folder}/0.mp4", f"{folder}/0.thumb.webp")
    data = site.file(video["video_url"]).read_bytes()
    measured = {"format": "mp4", "mime_type": "video/mp4", "file_size_bytes": len(data), "num_frames": 5, "fps": 8}
    assert video["metadata"] == DRAWN | measured | {"duration_seconds": 5 / 8} | expected
    assert (video["status"], video["seed"], video["file_size"]) == ("completed", 41, len(data))
    width, height = video["metadata"]["width"], video["metadata"]["height"]
    assert video["resolution"] == f"{width}x{height}"
    assert tops(data).index(b"moov") < tops(data).index(b"mdat")
    with av.open(io.BytesIO(data)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", width, height)
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == 5
    with Image.open(site.file(video["thumbnail_url"])) as small:
        assert (small.format, small.size) == ("WEBP", (width, height))
        distances = [np.abs(frame - np.asarray(small.convert("RGB"))).mean() for frame in frames]
    assert distances.index(min(distances)) == 2


def check_picture(site: Site, image: dict[str, Any], folder: str) -> None:
    """The row of the one frame that is a picture, its file and its thumbnail."""
    assert (image["image_url"], image["thumbnail_url"]) == (f"{folder}/0.png", f"{folder}/0.thumb.webp")
    size = site.file(image["image_url"]).stat().st_size
    measured = {"width": 64, "height": 64, "format": "png", "mime_type": "image/png", "file_size_bytes": size}
    assert image["metadata"] == DRAWN | measured
    assert (image["status"], image["seed"], image["file_size"]) == ("completed", 41, size)
    with Image.open(site.file(image["image_url"])) as picture, Image.open(site.file(image["thumbnail_url"])) as small:
        assert (picture.format, picture.size, picture.mode) == ("PNG", (64, 64), "RGB")
        assert (small.format, small.size) == ("WEBP", (64, 64))


def test_jobs_of_both_media_and_from_a_start_frame_are_whole(site: Site, jobs: UserJobs) -> None:
    start = site.file(f"{jobs.user}/start.png")
    start.parent.mkdir(parents=True)
    Image.linear_gradient("L").resize((96, 64)).convert("RGBA").save(start)
    frame = {"first_frame": f"{jobs.user}/start.png"}
    video = jobs.submit("a lighthouse", 1, "video_fast", **SENT, num_frames=6, fps=8)
    begun = jobs.submit("a lighthouse", 1, "wan_video_fast", **SENT, num_frames=5, fps=8, **frame)
    picture = jobs.submit("a lighthouse", 1, "image_fast", **SENT, num_frames=81)
    refused = jobs.submit("a lighthouse", 1, "image_fast", **SENT, **frame)
    worker = site.start("--drain-and-exit", engines="wan", model_wan="tiny", model_wan_i2v="tiny-2.2-i2v", device="cpu")
    assert worker.wait(STARTING) == 0, worker.output
    for job in (video, begun, picture):
        row = jobs.get(job)
        assert (row["status"], row["attempts"], row["errors"]) == ("completed", 1, []), row["error_message"]
        assert row["metadata"]["progress"] == 100
        [asset] = row["metadata"]["assets"]
        assert asset["type"] == ("image" if job == picture else "video")
        assert asset["metadata"]["steps"] == 2
    check_video(site, jobs.videos(video)[0], f"{jobs.user}/{video}", {"width": 64, "height": 64})
    expected = {"model": "tiny-2.2-i2v", "boundary_ratio": 0.9, "guidance_scale_2": 5.5, "width": 64, "height": 64}
    check_video(site, jobs.videos(begun)[0], f"{jobs.user}/{begun}", expected)
    check_picture(site, jobs.images(picture)[0], f"{jobs.user}/{picture}")
    assert jobs.get(video)["video_id"] == jobs.videos(video)[0]["id"]
    assert jobs.get(picture)["image_id"] == jobs.images(picture)[0]["id"]
    failed = jobs.get(refused)
    assert (failed["status"], failed["attempts"]) == ("failed", 1)
    assert failed["error_message"] == "start_reference_url is for videos, and image_fast makes pictures."
    assert "lighthouse" not in worker.output
    [stopped] = worker.events("worker.stopped")
    assert {line.split("=")[0].split("#")[0] for line in stopped["loads"].split()} == {"wan:tiny", "wan:tiny-2.2-i2v"}


def test_a_model_that_a_job_does_not_need_is_not_loaded_for_it(site: Site, jobs: UserJobs) -> None:
    start = site.file(f"{jobs.user}/start.png")
    start.parent.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(start)
    begun = jobs.submit("a lighthouse", 1, "video_fast", **SENT, num_frames=5, first_frame=f"{jobs.user}/start.png")
    folder = site.directory / "from-text"
    BUILDERS["tiny"]().save_pretrained(folder)
    models = {"model_wan": str(folder), "model_wan_i2v": "tiny-2.2-i2v"}
    worker = site.start("--drain-and-exit", engines="wan", device="cpu", **models)
    assert worker.wait(STARTING) == 0, worker.output
    assert jobs.get(begun)["status"] == "completed"
    [stopped] = worker.events("worker.stopped")
    assert stopped["loads"] == "wan:tiny-2.2-i2v=1"
