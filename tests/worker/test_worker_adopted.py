"""Worker processes on the platform's own database: its triggers and policies, its browser, and its old jobs."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

import adopted
from adopted import USER, key
from consumer import client
from postgres import Database, Databases
from user_jobs import UserJobs
from workers import Site

IMAGES = {"num_images": 2, "seed": 41, "width": 64, "height": 64, "steps": 2}
VIDEO = {"seed": 41, "width": 64, "height": 64, "steps": 2, "num_frames": 5, "fps": 8}


@pytest.fixture
def db(databases: Databases) -> Iterator[Database]:
    """The platform's database, adopted."""
    with adopted.adopted(databases) as db:
        yield db


@pytest.fixture
def jobs(db: Database) -> UserJobs:
    jobs = UserJobs(db)
    jobs.user = USER
    return jobs


class Browser:
    """What the platform's frontend sends, each statement a request of its user's."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def insert(self, table: str, **columns: object) -> UUID:
        names, values = ", ".join(["user_id", *columns]), ", ".join(["%s"] * (1 + len(columns)))
        statement = f"insert into public.{table} ({names}) values ({values}) returning id"
        [(row,)] = self.db.execute_as(USER, statement, [USER, *columns.values()])
        return row

    def update(self, table: str, row: UUID, **columns: object) -> None:
        changes = ", ".join(f"{name} = %s" for name in columns)
        statement = f"update public.{table} set {changes} where id = %s returning id"
        assert self.db.execute_as(USER, statement, [*columns.values(), row]) == [(row,)]


@pytest.fixture
def browser(db: Database) -> Browser:
    return Browser(db)


def ended(jobs: UserJobs, job: UUID) -> None:
    assert jobs.wait_until(job, "completed", "failed")["error_message"] is None


@pytest.mark.parametrize("waits", [True, False], ids=["before the claim", "after the claim"])
def test_an_image_job_with_rows_that_the_browser_inserts_and_links_later(
    site: Site, jobs: UserJobs, browser: Browser, waits: bool
) -> None:
    sent = {"job_type": "sdxl_image_fast", "format": "image", "quality": "fast", "original_prompt": "a lighthouse"}
    if not waits:
        site.start_idle(engines="sketch")
    job = browser.insert("jobs", **sent, metadata=Jsonb(IMAGES), status="queued")
    rows = [browser.insert("images", prompt="a lighthouse", title=f"{n}", status="queued") for n in range(2)]
    for index, row in enumerate(rows):
        browser.update("images", row, job_id=job, image_index=index)
    browser.update("jobs", job, image_id=rows[0])
    if waits:
        site.start_idle(engines="sketch")
    ended(jobs, job)
    row, images, videos = jobs.rows(job)
    assert (row["status"], row["image_id"], row["video_id"], videos) == ("completed", rows[0], None, [])
    assert [(i["id"], i["title"], i["status"], i["seed"]) for i in images] == [
        (rows[0], "0", "completed", 41), (rows[1], "1", "completed", 42),
    ]  # fmt: skip
    for index, image in enumerate(images):
        assert image["image_url"] == f"{USER}/{job}/{index}.png"
        assert site.file(image["image_url"]).stat().st_size == image["file_size"]
        assert (image["metadata"]["bucket"], image["image_urls"]) == ("workspace-temp", None)
    assert [asset["url"] for asset in row["metadata"]["assets"]] == [image["image_url"] for image in images]


@pytest.mark.parametrize("waits", [True, False], ids=["before the claim", "after the claim"])
def test_a_video_job_whose_video_the_browser_inserts_and_links_later(
    site: Site, jobs: UserJobs, browser: Browser, waits: bool
) -> None:
    if not waits:
        site.start_idle(engines="sketch")
    job = browser.insert(
        "jobs", job_type="video_fast", format="video", original_prompt="a lighthouse", metadata=Jsonb(VIDEO)
    )
    mine = browser.insert("videos", title="mine", status="queued")
    browser.update("jobs", job, video_id=mine)
    if waits:
        site.start_idle(engines="sketch")
    ended(jobs, job)
    row, _, [video] = jobs.rows(job)
    assert (row["status"], row["video_id"], row["image_id"]) == ("completed", mine, None)
    assert (video["id"], video["title"], video["status"]) == (mine, "mine", "completed")
    assert video["video_url"] == f"{USER}/{job}/0.mp4"
    assert site.file(video["video_url"]).stat().st_size == video["file_size"]


def test_a_worker_leaves_parked_jobs_alone_and_runs_those_that_are_unparked(
    site: Site, jobs: UserJobs, db: Database
) -> None:
    theirs = jobs.run("select id, status, engine, attempts from public.jobs order by id")
    worker = site.start("--drain-and-exit", engines="sketch")
    assert worker.wait() == 0, worker.output
    assert worker.events("job.claimed") == []
    assert jobs.run("select id, status, engine, attempts from public.jobs order by id") == theirs

    wanted = [key("jobs", number) for number in (2, 3, 7, 8, 10, 11)]
    small = {"width": 64, "height": 64, "steps": 1, "num_frames": 5}
    with client.operator(db.dsn) as connection:
        for job in wanted:
            client.unpark(connection, job, begun=True)
            jobs.run("update public.jobs set metadata = metadata || %s where id = %s", Jsonb(small), job)
    worker = site.start("--drain-and-exit", engines="sketch")
    assert worker.wait() == 0, worker.output
    assert [(job, jobs.get(job)["status"]) for job in wanted] == [(job, "completed") for job in wanted]
    counts = [(len(jobs.images(job)), len(jobs.videos(job))) for job in wanted]
    assert counts == [(3, 0), (0, 1), (1, 0), (3, 0), (3, 0), (1, 0)]
    assert {image["id"] for image in jobs.images(wanted[0])} >= {key("images", 20), key("images", 21)}
    assert [video["id"] for video in jobs.videos(wanted[1])] == [key("videos", 3)]
    assert [image["id"] for image in jobs.images(wanted[5])] == [key("images", 111)]
    others = "select status from public.jobs where job_type = 'rv51_fast' order by id"
    assert [row["status"] for row in jobs.run(others)] == ["queued", "processing"]


def test_a_job_that_cannot_work_fails_although_everything_of_it_is_null(
    site: Site, jobs: UserJobs, browser: Browser
) -> None:
    job = browser.insert(
        "jobs", job_type="sdxl_image_fast", status=None, attempts=None, max_attempts=None, metadata=None
    )
    worker = site.start("--drain-and-exit", engines="sketch")
    assert worker.wait() == 0, worker.output
    row, images, _ = jobs.rows(job)
    assert (row["status"], row["error_message"], row["attempts"]) == ("failed", "prompt must not be empty.", 1)
    assert [image["status"] for image in images] == ["failed"] * 3
