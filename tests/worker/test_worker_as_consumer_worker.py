"""The whole of a worker's life as the role consumer_worker: on a new database, and on the platform's own."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import adopted
from consumer import job_types, migrate
from postgres import Database, Databases
from user_jobs import UserJobs
from worker_login import worker_dsn
from workers import Site, Worker, check_picture

TYPE = "sdxl_image_fast"
JOB_TYPE = """
[sdxl_image_fast]
engine = "puppet"
medium = "image"
count = 3
max_count = 16
cost = 1
defaults = { steps = 2, guidance_scale = 7, width = 64, height = 64 }
"""


@pytest.fixture(params=["fresh", "adopted"])
def jobs(request: pytest.FixtureRequest, databases: Databases) -> Iterator[UserJobs]:
    """A user, of a new database or of the platform's."""
    with ExitStack() as stack:
        fresh = request.param == "fresh"
        making = databases.clone(databases.migrated) if fresh else adopted.adopted(databases)
        jobs = UserJobs(stack.enter_context(making))
        if not fresh:
            jobs.user = adopted.USER
        yield jobs


@pytest.fixture
def db(jobs: UserJobs) -> Database:
    return jobs.db


class RoleSite(Site):
    """Workers that know nothing but the URI of consumer_worker; a DBA has pushed the job types."""

    def __init__(self, db: Database, directory: Path) -> None:
        super().__init__(db.dsn, directory)
        self.toml = directory / "job_types.toml"
        self.toml.write_text(JOB_TYPE)
        migrate.push_job_types(db.dsn, job_types.load(self.toml).values())
        self.dsn = worker_dsn(db)

    def start(self, *args: str, **environment: str) -> Worker:
        return super().start(*args, **{"job_types": str(self.toml), **environment})


@pytest.fixture
def site(db: Database, tmp_path: Path) -> Iterator[RoleSite]:
    site = RoleSite(db, tmp_path)
    yield site
    site.close()


def test_it_makes_pictures_and_takes_leave(site: RoleSite, jobs: UserJobs) -> None:
    job = jobs.submit("job", 2, TYPE)
    gate = site.gate("job.1.start")
    worker = site.start("--drain-and-exit")
    gate.wait()
    sessions = "from pg_stat_activity where application_name = 'consumer' and datname = current_database()"
    assert jobs.run(f"select distinct usename {sessions}") == [{"usename": "consumer_worker"}]
    gate.release()
    assert worker.wait() == 0, worker.output
    row, images, _ = jobs.rows(job)
    assert (row["status"], row["image_id"]) == ("completed", images[0]["id"])
    assert row["metadata"]["progress"] == 100
    for image in images:
        check_picture(site, image)
    assert jobs.workers() == {}


def test_it_acts_as_the_role_where_it_logs_in_as_postgres(site: RoleSite, jobs: UserJobs, db: Database) -> None:
    jobs.run("create table public.seen (who name)")
    jobs.run("grant insert on public.seen to public")
    jobs.run(
        "create function public.look() returns trigger language plpgsql as"
        " 'begin insert into public.seen values (current_user); return new; end'"
    )
    for table in ("public.jobs", "public.images", "consumer.workers"):
        jobs.run(f"create trigger look after update on {table} for each row execute function public.look()")
    job = jobs.submit("job", 1, TYPE)
    jobs.run("delete from public.seen")
    site.dsn = db.dsn
    worker = site.start("--drain-and-exit", database_role="consumer_worker")
    assert worker.wait() == 0, worker.output
    assert jobs.get(job)["status"] == "completed"
    assert jobs.run("select distinct who from public.seen") == [{"who": "consumer_worker"}]


def test_it_hears_of_a_job_and_makes_a_video(site: RoleSite, jobs: UserJobs) -> None:
    worker = site.start_idle(engines="sketch")
    jobs.wait_for_idle()
    job = jobs.submit("a lighthouse", 1, "video_fast", width=64, height=64, steps=1, num_frames=5, fps=8)
    worker.wait_for("job.completed", job_id=job)
    row, _, [video] = jobs.rows(job)
    assert (row["status"], row["video_id"], video["status"]) == ("completed", video["id"], "completed")
    assert site.file(video["video_url"]).stat().st_size == video["file_size"]


def test_it_takes_up_rows_that_the_application_left_loose(site: RoleSite, jobs: UserJobs) -> None:
    job, film = jobs.submit("job", 2, TYPE), jobs.submit("job", 1, "video_fast", width=64, height=64, num_frames=5)
    own = [jobs.insert("images", {"user_id": jobs.user, "prompt": "mine", "job_id": job}) for _ in range(2)]
    jobs.run("delete from public.videos where job_id = %s", film)
    own_film = jobs.insert("videos", {"user_id": jobs.user, "job_id": film})
    for engine in ("puppet", "sketch"):
        worker = site.start("--drain-and-exit", engines=engine)
        assert worker.wait() == 0, worker.output
    assert {(image["id"], image["status"]) for image in jobs.images(job)} == {(key, "completed") for key in own}
    assert [(video["id"], video["status"]) for video in jobs.videos(film)] == [(own_film, "completed")]


def test_it_tries_again_and_then_fails(site: RoleSite, jobs: UserJobs) -> None:
    job = jobs.submit("job", 2, TYPE, raises="ValueError")
    worker = site.start()
    for attempt in (1, 2):
        worker.wait_for("job.retry", job_id=job, attempt=attempt)
        assert jobs.get(job)["status"] == "queued"
        jobs.hurry(job)
    worker.wait_for("job.fail", job_id=job, attempt=3)
    row, images, _ = jobs.rows(job)
    assert (row["status"], len(row["errors"]), row["metadata"]["error_type"]) == ("failed", 3, "ValueError")
    assert [image["status"] for image in images] == ["failed", "failed"]


def test_it_stops_a_job_that_its_user_cancels(site: RoleSite, jobs: UserJobs) -> None:
    worker = site.start_idle()
    site.endless.touch()
    job = jobs.submit("job", 2, TYPE, endless=[1])
    worker.wait_for("asset.recorded", job_id=job, index=0)
    assert jobs.cancel(job) == "cancelled"
    worker.wait_for("job.cancelled", job_id=job)
    assert [image["status"] for image in jobs.images(job)] == ["completed", "cancelled"]


def test_another_one_rescues_what_a_dead_one_held(site: RoleSite, jobs: UserJobs) -> None:
    gate, job = site.gate("job.1.start"), jobs.submit("job", 2, TYPE)
    first = site.start()
    gate.wait()
    first.wait_for("asset.recorded", job_id=job, index=0)
    first.kill()
    second = site.start("--max-jobs", "1")
    second.wait_for("job.rescued", job_id=job, status="queued")
    assert second.wait() == 0, second.output
    assert (jobs.get(job)["status"], jobs.get(job)["attempts"]) == ("completed", 2)
    assert [line["index"] for line in site.drawn() if line["pid"] == second.pid] == [1]


def test_it_gives_back_what_it_cannot_finish(site: RoleSite, jobs: UserJobs) -> None:
    site.endless.touch()
    gate, job = site.gate("job.0.start"), jobs.submit("job", 1, TYPE, endless=[0])
    worker = site.start(grace_seconds="0")
    gate.wait()
    gate.release()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.output
    worker.wait_for("job.release", job_id=job)
    row, [image], _ = jobs.rows(job)
    assert (row["status"], row["attempts"], image["status"]) == ("queued", 0, "queued")
    site.endless.unlink()
    assert site.start("--drain-and-exit").wait() == 0
    assert jobs.get(job)["status"] == "completed"


def test_it_puts_jobs_in_line_whose_time_has_come(site: RoleSite, jobs: UserJobs) -> None:
    job = jobs.add(TYPE, metadata={"num_images": 1, "prompt": "job", "seed": 1}, available_at="2026-01-01")
    jobs.run("update public.jobs set queue_at = null, available_at = now() where id = %s", job)
    worker = site.start("--max-jobs", "1")
    assert worker.wait() == 0, worker.output
    assert jobs.get(job)["status"] == "completed"
