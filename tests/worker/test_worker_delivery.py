"""What happens beside the lane: uploads that fail, records that wait, and the next job meanwhile."""

from datetime import timedelta

from user_jobs import UserJobs
from workers import Site, check_picture, eventually

UNDER_WAY = 8
"""Outputs that may be in delivery at once, as docs and delivery say."""


def test_an_upload_that_fails_is_tried_again_from_the_bytes_in_hand(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job")
    in_the_way = site.file(f"{jobs.user}/{job}/0.png")
    in_the_way.mkdir(parents=True)
    before = in_the_way.parent.stat().st_mtime_ns
    worker = site.start()
    eventually(lambda: in_the_way.parent.stat().st_mtime_ns != before, "an upload was tried")
    in_the_way.rmdir()
    worker.wait_for("job.completed", job_id=job, attempt=1)
    check_picture(site, jobs.images(job)[0])
    assert len(site.drawn()) == 1


def test_pictures_that_were_stored_are_visible_while_the_rest_waits_for_a_retry(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job", 3)
    in_the_way = site.file(f"{jobs.user}/{job}/2.png")
    in_the_way.mkdir(parents=True)
    worker = site.start()
    worker.wait_for("job.retry", job_id=job, attempt=1)
    row = jobs.get(job)
    assert (row["status"], row["error_message"], row["completed_at"]) == ("queued", None, None)
    assert [image["status"] for image in jobs.images(job)] == ["completed", "completed", "queued"]
    [error] = row["errors"]
    assert (error["type"], error["attempt"]) == ("StorageUnavailableError", 1)
    visible = jobs.images(job)[:2]
    for image in visible:
        check_picture(site, image)

    in_the_way.rmdir()
    worker.wait_for("job.completed", job_id=job, attempt=2)
    assert [(line["index"], line["seed"]) for line in site.drawn()] == [(0, 1000), (1, 1001), (2, 1002), (2, 1002)]
    assert jobs.images(job)[:2] == visible
    check_picture(site, jobs.images(job)[2])
    done = jobs.get(job)
    assert done["status"] == "completed"
    assert done["started_at"] >= row["available_at"] > row["started_at"] + timedelta(seconds=2)


def test_the_next_job_is_drawn_while_the_last_one_is_being_recorded(site: Site, jobs: UserJobs) -> None:
    gates = [site.gate(f"{name}.0.start") for name in ("first", "second")]
    first, second = (jobs.submit(name) for name in ("first", "second"))
    worker = site.start()
    gates[0].wait()
    with jobs.locked("select from public.jobs where id = %s for update", first):
        gates[0].release()
        jobs.blocked("record_image")
        gates[1].wait()
        assert jobs.images(first)[0]["status"] != "completed"
        gates[1].release()
        worker.wait_for("job.completed", job_id=second)
        assert jobs.get(first)["status"] == "processing"
    worker.wait_for("job.completed", job_id=first, attempt=1)


def test_a_storage_that_stands_still_stops_the_engine_and_not_the_heartbeat(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.start"), jobs.submit("job", 16)
    worker = site.start()
    gate.wait()
    with jobs.locked("select from public.jobs where id = %s for update", job):
        gate.release()
        # One more is drawn, and waits for room.
        eventually(lambda: len(site.drawn()) == UNDER_WAY + 1, "the room is full")
        jobs.wait_for_beats(3)
        assert len(site.drawn()) == UNDER_WAY + 1
    worker.wait_for("job.completed", job_id=job, attempt=1)
    assert len(site.drawn()) == 16
    assert not worker.events("heartbeat.missed")


def test_no_transaction_is_open_while_an_engine_runs(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.1.middle"), jobs.submit("job", 3)
    worker = site.start()
    gate.wait()
    worker.wait_for("asset.recorded", job_id=job, index=0)
    ours = "from pg_stat_activity where datname = current_database() and application_name = 'consumer'"
    paused = jobs.value("select clock_timestamp()")
    jobs.wait_for_beats(2)
    assert jobs.value(f"select count(*) {ours}") >= 2, "there are the listener and the pool to be looked at"
    assert not jobs.run(f"select pid {ours} and state <> 'active' and (state <> 'idle' or backend_xmin is not null)")
    assert not jobs.run(f"select pid {ours} and xact_start <= %s", paused)
    gate.release()
    worker.wait_for("job.completed", job_id=job)
