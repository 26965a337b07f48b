"""prepare_* and pending_*: which assets are to be made, and in whose rows."""

import pytest

from consumer.job import Medium

WAN = ("wan",)


def pending(hands, job, medium=Medium.image, count=1):
    return hands.do(hands.assets.pending(job, medium, count))


def test_what_is_pending_are_the_rows_without_a_result(jobs, worker):
    jobs.add(count=4)
    job = worker.take()
    assert pending(worker, job, count=4) == [0, 1, 2, 3]
    worker.record(job, 2)
    worker.progress(job, 50, {1: 50})
    assert pending(worker, job, count=4) == [0, 1, 3]


@pytest.mark.parametrize("limit", [1, 3])
def test_a_claim_tells_what_is_pending(jobs, worker, limit):
    for count in (2, 1, 3):
        jobs.add(count=count)
    first = worker.take()
    worker.record(first, 0)
    worker.release(first)
    told = worker.do(worker.queue.claim_jobs(["sketch"], limit))
    assert [job.pending for job in told] == [[1], [0], [0, 1, 2]][:limit]


@pytest.mark.parametrize("index", [0, None])
def test_a_claim_leaves_it_open_where_a_row_is_the_applications(jobs, worker, index):
    job_id = jobs.add(count=2)
    jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": index, "status": "queued"})
    assert worker.take().pending is None


def test_a_claim_leaves_it_open_where_nothing_is_left(jobs, worker):
    jobs.add()
    job = worker.take()
    worker.record(job)
    worker.release(job)
    assert worker.take().pending is None


@pytest.mark.parametrize("limit", [1, 3])
def test_a_claim_of_a_video_does_not_look_at_images(jobs, worker, db, limit):
    job_id = jobs.add("video_fast")
    with db.connect(autocommit=False) as application:
        application.execute("lock table public.images in access exclusive mode")
        [job] = worker.do(worker.queue.claim_jobs(["video_fast"], limit))
    assert (job.id, job.pending) == (job_id, None)


@pytest.fixture
def slow_to_choose(jobs):
    """Who claims as consumer_worker waits, while it chooses, for whoever holds the advisory lock 7."""
    jobs.run("""
        create function public.wait_a_little() returns boolean language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(7); return true; end $$
    """)
    jobs.run("create policy slow on public.jobs as restrictive to consumer_worker using (public.wait_a_little())")
    yield
    jobs.run("drop policy slow on public.jobs")
    jobs.run("drop function public.wait_a_little()")


@pytest.mark.parametrize("limit", [1, 3])
def test_a_claim_sees_a_row_that_came_while_it_chose(jobs, worker, other, begin, slow_to_choose, limit):
    job_id = jobs.add()
    claimant, holder = begin(worker, autocommit=True), begin(other)
    claimant.do(claimant.sql("set role consumer_worker"))
    holder.do(holder.sql("select pg_advisory_xact_lock(7)"))
    claim = claimant.start(claimant.queue.claim_jobs(["sketch"], limit), behind=holder)
    own = jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "status": "queued"})
    holder.commit()

    [job] = claimant.end(claim)
    assert job.pending is None
    assert pending(worker, job) == [0]
    assert [(image["id"], image["image_index"]) for image in jobs.images(job_id)] == [(own, 0)]


def test_every_row_of_ours_is_pending_however_many_the_job_type_makes_by_now(jobs, worker):
    jobs.add(count=3)
    assert pending(worker, worker.take(), count=2) == [0, 1, 2]


def test_an_applications_row_beyond_the_count_is_not_pending(jobs, worker):
    job_id = jobs.add(count=2)
    jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": 5})
    job = worker.take()
    assert pending(worker, job, count=2) == [0, 1]
    for index in (0, 1):
        worker.record(job, index)
    assert worker.complete(job, 2) == (True, True)


def test_a_row_that_its_owner_deleted_is_not_made_again(jobs, worker):
    job_id = jobs.add(count=2)
    jobs.run("delete from public.images where job_id = %s and image_index = 0", job_id)
    assert pending(worker, worker.take(), count=2) == [1]


@pytest.mark.parametrize(("job_type", "medium"), [("sketch", Medium.image), ("video_fast", Medium.video)])
def test_a_job_without_rows_gets_them(jobs, worker, job_type, medium):
    job_id = jobs.add(job_type, original_prompt="A harbour")
    jobs.run("delete from public.images")
    jobs.run("delete from public.videos")
    job = worker.take(job_type)

    assert pending(worker, job, medium) == [0]

    [row] = jobs.images(job_id) if medium is Medium.image else jobs.videos(job_id)
    assert (row["status"], row["image_index"], row["managed"], row["user_id"]) == ("queued", 0, True, jobs.user)
    assert worker.record(job, 0, medium)


@pytest.mark.parametrize(("job_type", "medium"), [("sketch", Medium.image), ("video_fast", Medium.video)])
def test_an_applications_row_without_an_index_takes_the_place_of_ours(jobs, worker, job_type, medium):
    job_id = jobs.add(job_type)
    own = jobs.insert(f"{medium}s", {"user_id": jobs.user, "job_id": job_id, "status": "queued", "title": "Mine"})
    job = worker.take(job_type)

    assert pending(worker, job, medium) == [0]

    [row] = jobs.images(job_id) if medium is Medium.image else jobs.videos(job_id)
    assert (row["id"], row["image_index"], row["title"]) == (own, 0, "Mine")


def test_loose_rows_take_the_lowest_free_places_in_the_order_of_their_making(jobs, worker):
    job_id = jobs.add(count=3)
    indexed = jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": 1, "status": "queued"})
    loose = [jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "status": "queued"}) for _ in range(2)]

    assert pending(worker, worker.take(), count=3) == [0, 1, 2]
    assert [image["id"] for image in jobs.images(job_id)] == [loose[0], indexed, loose[1]]


def test_a_place_that_has_its_result_is_not_given_to_a_loose_row(jobs, worker):
    job_id = jobs.add(count=2)
    job = worker.take()
    worker.record(job, 0)
    own = jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "status": "queued"})

    assert pending(worker, job, count=2) == [1]
    assert [image["id"] == own for image in jobs.images(job_id)] == [False, True]


def test_a_video_that_only_the_job_names_is_taken_up(jobs, worker):
    job_id = jobs.add("video_fast")
    own = jobs.insert("videos", {"user_id": jobs.user, "status": "queued"})
    jobs.set(job_id, video_id=own)

    assert pending(worker, worker.take("video_fast"), Medium.video) == [0]

    [video] = jobs.videos(job_id)
    assert (video["id"], video["image_index"]) == (own, 0)


def test_nothing_is_prepared_for_a_claim_that_is_over(jobs, worker):
    job_id = jobs.add()
    late = worker.take()
    worker.release(late)
    worker.take()
    jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "status": "queued"})
    before = jobs.rows(job_id)
    pending(worker, late)
    assert jobs.rows(job_id) == before


def test_a_place_that_the_application_takes_meanwhile_is_not_given_to_a_loose_row(jobs, worker, other, begin):
    job_id = jobs.add(count=2)
    loose = jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "status": "queued"})
    job = worker.take()
    application, late = begin(other), begin(worker, autocommit=True)
    statement = (
        "insert into public.images (user_id, job_id, image_index, status) values (%s, %s, 0, 'queued') returning id"
    )
    [(own,)] = application.do(application.sql(statement, jobs.user, job_id))

    asking = late.start(late.assets.pending(job, Medium.image, 2), behind=application)
    application.commit()

    assert late.end(asking) == [0, 1]
    assert [(image["id"], image["image_index"]) for image in jobs.images(job_id)] == [(own, 0), (loose, 1)]
