"""The engine under examples/engine, installed as its README says and run by a real worker."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consumer import job_types, migrate
from user_jobs import UserJobs
from workers import Site

EXAMPLE = Path(__file__).parents[2] / "examples" / "engine"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the package in it; only what is built counts."""
    folder, source = tmp_path / "installed", tmp_path / "source"
    source.mkdir()
    for path in EXAMPLE.iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "--target", str(folder), str(source)], check=True)
    return folder


@pytest.fixture
def start(site: Site, installed: Path):
    """Start a worker with the example's engine and job types."""
    toml = EXAMPLE / "job_types.toml"
    migrate.push_job_types(site.dsn, job_types.load(toml).values())
    return lambda *args: site.start(*args, engines="plasma", job_types=str(toml), PYTHONPATH=str(installed))


def test_the_example_makes_pictures(site: Site, jobs: UserJobs, start) -> None:
    job = jobs.submit("a warm evening", 2, "plasma", width=96, height=64)
    assert start("--drain-and-exit").wait() == 0
    assert jobs.get(job)["status"] == "completed"
    pictures = []
    for image in jobs.images(job):
        assert (image["status"], image["progress"], image["metadata"]["steps"]) == ("completed", 100, 6)
        with Image.open(site.file(image["image_url"])) as picture:
            assert picture.size == (96, 64)
            pictures.append(np.asarray(picture))
    assert len(pictures) == 2
    assert not np.array_equal(*pictures), "each index has a seed of its own"


def test_the_example_makes_videos(site: Site, jobs: UserJobs, start) -> None:
    import av

    job = jobs.submit("a warm evening", 1, "plasma_video", width=64, height=64, num_frames=9)
    assert start("--drain-and-exit").wait() == 0
    [video] = jobs.run("select status, video_url from public.videos where job_id = %s", job)
    assert video["status"] == "completed"
    with av.open(io.BytesIO(site.file(video["video_url"]).read_bytes())) as container:
        assert container.streams.video[0].frames == 9


def test_what_the_example_refuses_is_told_in_a_sentence(jobs: UserJobs, start) -> None:
    job = jobs.submit("a warm evening", 1, "plasma", steps=13)
    assert start("--drain-and-exit").wait() == 0
    assert jobs.get(job)["error_message"] == "steps must be at most 12 for the plasma engine."
