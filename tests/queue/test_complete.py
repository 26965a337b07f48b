"""complete_job: what a finished job shows, and when it is not finished."""

from uuid import uuid4

import pytest

from consumer.errors import LeaseLostError
from consumer.job import MEASURED, Medium


def test_a_completed_job_is_over_and_in_nobodys_hands(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    jobs.set(job_id, error_message="The first attempt failed.")
    worker.record(job)

    assert worker.complete(job) == (True, True)

    row = jobs.get(job_id)
    assert (row["status"], row["worker_id"], row["queue_at"], row["error_message"]) == ("completed", None, None, None)
    assert row["completed_at"] >= row["started_at"]
    assert row["attempts"] == 1
    assert row["metadata"]["progress"] == 100


def test_the_assets_are_told_in_order_of_index_and_not_of_recording(jobs, worker):
    job_id = jobs.add(count=3, metadata={"prompt": "A harbour", "seed": 7})
    job = worker.take()
    for index in (2, 0, 1):
        worker.record(job, index)

    worker.complete(job, count=3)

    row, images = jobs.get(job_id), jobs.images(job_id)
    folder = f"{jobs.user}/{job_id}"
    assert [asset["url"] for asset in row["metadata"]["assets"]] == [f"{folder}/{i}.png" for i in range(3)]
    assert [asset["thumbnail_url"] for asset in row["metadata"]["assets"]] == [
        f"{folder}/{i}.thumb.webp" for i in range(3)
    ]
    assert [asset["type"] for asset in row["metadata"]["assets"]] == ["image"] * 3
    assert (row["image_id"], row["video_id"]) == (images[0]["id"], None)
    assert row["metadata"] | {"prompt": "A harbour", "seed": 7, "num_images": 3} == row["metadata"]


def test_an_assets_metadata_holds_what_was_measured_and_nothing_else(jobs, worker):
    job_id = jobs.add()
    image = jobs.images(job_id)[0]["id"]
    jobs.run("""update public.images set metadata = '{"private": "note", "seed": 1}' where id = %s""", image)
    job = worker.take()
    worker.record(job, steps=8, guidance_scale=7, model="m")

    worker.complete(job)

    [asset] = jobs.get(job_id)["metadata"]["assets"]
    assert asset["metadata"] == {
        "width": 512, "height": 768, "format": "png", "mime_type": "image/png", "file_size_bytes": 1000,
        "asset_index": 0, "seed": 7, "steps": 8, "guidance_scale": 7, "model": "m",
    }  # fmt: skip
    assert set(asset["metadata"]) <= set(MEASURED)
    assert jobs.images(job_id)[0]["metadata"] == asset["metadata"] | {"private": "note", "bucket": "workspace-temp"}


def test_a_video_job_shows_its_video(jobs, worker):
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.record(job, 0, Medium.video, duration_seconds=5.06)

    assert worker.complete(job) == (True, True)

    row, [video] = jobs.get(job_id), jobs.videos(job_id)
    [asset] = row["metadata"]["assets"]
    assert (asset["type"], asset["url"]) == ("video", f"{jobs.user}/{job_id}/0.mp4")
    assert asset["metadata"]["duration_seconds"] == 5.06
    assert (row["image_id"], row["video_id"]) == (None, video["id"])


def test_an_applications_picture_beside_a_video_is_no_asset_of_the_video_job(jobs, worker):
    job_id = jobs.add("video_fast")
    jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": 0, "status": "queued"})
    job = worker.take("video_fast")
    worker.record(job, 0, Medium.video)

    assert worker.complete(job) == (True, True)

    row = jobs.get(job_id)
    assert [asset["type"] for asset in row["metadata"]["assets"]] == ["video"]
    assert row["image_id"] is None


@pytest.mark.parametrize("recorded", [(), (0,), (1, 2)], ids=str)
def test_a_job_with_an_unfinished_asset_is_held_and_not_completed(jobs, worker, recorded):
    job_id = jobs.add(count=3)
    job = worker.take()
    for index in recorded:
        worker.record(job, index)
    before = jobs.rows(job_id)

    assert worker.complete(job, count=3) == (False, True)
    assert jobs.rows(job_id) == before


def test_rows_beyond_the_jobs_count_neither_hold_it_up_nor_show(jobs, worker):
    job_id = jobs.add()
    jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": 5, "status": "queued"})
    jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "status": "queued"})
    job = worker.take()
    worker.record(job)

    assert worker.complete(job) == (True, True)
    assert len(jobs.get(job_id)["metadata"]["assets"]) == 1


def test_a_picture_that_its_owner_deleted_does_not_hold_up_the_others(jobs, worker):
    job_id = jobs.add(count=2)
    job = worker.take()
    worker.record(job, 1)
    jobs.run("delete from public.images where job_id = %s and image_index = 0", job_id)

    assert worker.complete(job, count=2) == (True, True)

    row = jobs.get(job_id)
    assert row["image_id"] == jobs.images(job_id)[0]["id"]
    assert [asset["metadata"]["asset_index"] for asset in row["metadata"]["assets"]] == [1]


def test_a_job_without_any_row_is_not_completed(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    jobs.run("delete from public.images where job_id = %s", job_id)
    assert worker.complete(job) == (False, True)
    assert jobs.get(job_id)["status"] == "processing"


def test_a_complete_whose_reply_was_lost_is_repeated_with_success(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    worker.record(job)
    worker.complete(job)
    before = jobs.rows(job_id)

    assert worker.complete(job)[0] is True
    assert jobs.rows(job_id) == before


def test_a_complete_that_is_repeated_while_the_first_one_commits_is_success(jobs, worker, begin):
    jobs.add()
    job = worker.take()
    worker.record(job)
    first, again = begin(worker), begin(worker)

    first.complete(job)
    repeated = again.start(again.queue.complete_job(job, 1), behind=first)
    first.commit()

    assert again.end(repeated)[0] is True


@pytest.mark.parametrize("status", ["queued", "completed", "failed", "cancelled"])
def test_a_job_that_another_claim_has_touched_since_is_not_completed(jobs, worker, status):
    job_id = jobs.add()
    late = worker.take()
    worker.record(late)
    worker.release(late)
    worker.take()
    jobs.set(job_id, status=status)
    before = jobs.rows(job_id)

    assert worker.complete(late) == (False, False)
    assert jobs.rows(job_id) == before


@pytest.mark.parametrize("status", ["queued", "failed", "cancelled"])
def test_a_job_that_is_not_processing_is_not_completed(jobs, worker, status):
    job_id = jobs.add()
    job = worker.take()
    worker.record(job)
    jobs.set(job_id, status=status)
    before = jobs.rows(job_id)

    assert worker.complete(job) == (False, False)
    assert jobs.rows(job_id) == before


def test_a_job_whose_row_is_gone_is_not_completed(jobs, worker):
    job_id = jobs.add()
    job = worker.take()
    jobs.run("delete from public.jobs where id = %s", job_id)
    assert worker.complete(job) == (False, False)
    assert worker.do(worker.queue.read_status(job)) is None
    with pytest.raises(LeaseLostError):
        worker.record(job)


@pytest.mark.parametrize("metadata", ["[1, 2]", '"a string"', "null", "7"])
def test_metadata_that_is_no_object_in_an_applications_row_holds_nothing_up(jobs, worker, metadata):
    job_id = jobs.add(count=2)
    jobs.run("update public.images set metadata = %s::jsonb, managed = false where job_id = %s", metadata, job_id)
    jobs.run("update public.images set status = 'completed' where job_id = %s and image_index = 1", job_id)
    job = worker.take()

    assert worker.record(job, 0)
    assert worker.complete(job, count=2) == (True, True)

    first, second = jobs.get(job_id)["metadata"]["assets"]
    assert first["metadata"]["width"] == 512
    assert not second["metadata"]


def test_a_picture_that_the_application_replaces_meanwhile_is_the_one_that_the_job_names(jobs, worker, begin):
    job_id = jobs.add()
    job = worker.take()
    worker.record(job)
    application, completing = begin(worker), begin(worker, autocommit=True)
    own = uuid4()

    application.do(
        application.sql(
            "insert into public.images (id, user_id, job_id, image_index) values (%s, %s, %s, 0)",
            own,
            jobs.user,
            job_id,
        )
    )
    completion = completing.start(completing.queue.complete_job(job, 1), behind=application)
    application.commit()

    assert completing.end(completion) == (True, True)
    assert jobs.get(job_id)["image_id"] == own
