"""Several workers on one database."""

import signal

from user_jobs import UserJobs
from workers import Site, check_picture, eventually

WORKERS, JOBS, IMAGES = 4, 300, 3


def test_four_workers_drain_300_jobs_and_record_each_picture_exactly_once(site: Site, jobs: UserJobs) -> None:
    workers = [site.start_idle() for _ in range(WORKERS)]
    jobs.db.execute_as(
        jobs.user,
        "insert into jobs (job_type, original_prompt, metadata, user_id)"
        " select 'puppet', 'job ' || n, jsonb_build_object('num_images', %s::int, 'seed', 1000 * n), %s"
        " from generate_series(1, %s) as n",
        (IMAGES, jobs.user, JOBS),
    )
    unfinished = "select id from public.jobs where status in ('queued', 'processing') limit 1"
    eventually(lambda: not jobs.run(unfinished), "every job has ended", 90)
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [0] * WORKERS

    assert jobs.run("select status, attempts, count(*) from public.jobs group by 1, 2") == [
        {"status": "completed", "attempts": 1, "count": JOBS}
    ]
    told = [(e["job_id"], e["index"]) for worker in workers for e in worker.events("asset.recorded")]
    assert len(told) == len(set(told)) == JOBS * IMAGES
    assert all(worker.events("job.completed") for worker in workers), "each of them did some"
    images = jobs.run("select * from public.images")
    assert {(str(image["job_id"]), image["image_index"]) for image in images} == set(told)
    for image in images:
        check_picture(site, image)
    pictures = list((site.storage / "workspace-temp").rglob("*.png"))
    assert len(pictures) == len(site.drawn()) == JOBS * IMAGES
