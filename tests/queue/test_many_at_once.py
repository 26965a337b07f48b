"""record_images and complete_jobs: many jobs in one statement, each as if it were alone."""

import asyncio

from jobs import Hands, Jobs, result

COUNT = 2


def claimed(jobs: Jobs, worker: Hands, amount: int) -> list:
    for _ in range(amount):
        jobs.add(count=COUNT)
    return worker.do(worker.queue.claim_jobs(["sketch"], amount))


def record_all(worker: Hands, taken: list) -> list[bool]:
    async def together() -> list:
        calls = [worker.assets.record(job, "image", result(job, index)) for job in taken for index in range(COUNT)]
        return await asyncio.gather(*calls, return_exceptions=True)

    return worker.do(together())


def complete_all(worker: Hands, taken: list) -> list[tuple[bool, bool]]:
    async def together() -> list:
        return await asyncio.gather(*(worker.queue.complete_job(job, COUNT) for job in taken))

    return worker.do(together())


def as_told(rows: tuple) -> list:
    """What differs from job to job is left out."""
    own = {"id", "job_id", "user_id", "image_id", "claim_id", "version", "seed", "image_url", "thumbnail_url"}
    own |= {"created_at", "updated_at", "started_at", "completed_at", "start_tag", "finish_tag", "metadata"}
    job, images, _ = rows
    return [{name: value for name, value in row.items() if name not in own} for row in (job, *images)]


def test_many_jobs_end_as_each_would_have_ended_alone(jobs, worker):
    alone, *taken = claimed(jobs, worker, 6)
    for index in range(COUNT):
        assert worker.record(alone, index)
    assert worker.complete(alone, COUNT) == (True, True)

    assert record_all(worker, taken) == [True] * COUNT * len(taken)
    assert complete_all(worker, taken) == [(True, True)] * len(taken)

    for job in taken:
        assert as_told(jobs.rows(job.id)) == as_told(jobs.rows(alone.id))
        row, images, _ = jobs.rows(job.id)
        assert [asset["url"] for asset in row["metadata"]["assets"]] == [image["image_url"] for image in images]
        assert row["image_id"] == images[0]["id"]
        assert row["metadata"]["assets"][0].keys() == jobs.get(alone.id)["metadata"]["assets"][0].keys()


def test_a_lost_job_among_them_changes_nothing_and_holds_up_nobody(jobs, worker):
    taken = claimed(jobs, worker, 4)
    lost = taken[1]
    jobs.set(lost.id, claim_id=lost.claim_id + 1000)
    before = jobs.rows(lost.id)

    recorded = record_all(worker, taken)
    completed = complete_all(worker, taken)

    assert [type(answer).__name__ for answer in recorded[COUNT : 2 * COUNT]] == ["LeaseLostError"] * COUNT
    assert completed == [(True, True), (False, False), (True, True), (True, True)]
    assert jobs.rows(lost.id) == before


def test_one_with_an_asset_missing_is_not_completed_and_the_others_are(jobs, worker):
    taken = claimed(jobs, worker, 3)
    record_all(worker, taken)
    jobs.run("update public.images set status = 'processing' where job_id = %s and image_index = 1", taken[2].id)
    assert complete_all(worker, taken) == [(True, True), (True, True), (False, True)]


def test_one_whose_row_is_locked_is_waited_for_alone(jobs, worker, db):
    taken = claimed(jobs, worker, 4)
    record_all(worker, taken)
    with db.connect(autocommit=False) as somebody:
        somebody.execute("select from public.jobs where id = %s for update", (taken[0].id,))

        async def complete() -> tuple:
            tasks = [asyncio.create_task(worker.queue.complete_job(job, COUNT)) for job in taken]
            others = await asyncio.gather(*tasks[1:])
            waits = not tasks[0].done()
            await asyncio.to_thread(somebody.rollback)
            return others, waits, await tasks[0]

        assert worker.do(complete()) == ([(True, True)] * 3, True, (True, True))


def test_one_that_the_database_refuses_fails_alone(jobs, worker):
    taken = claimed(jobs, worker, 3)
    record_all(worker, taken)
    jobs.run(
        f"""
        create function refuse() returns trigger language plpgsql as $$
        begin
          if new.id = '{taken[1].id}' then raise exception 'not this one'; end if;
          return new;
        end $$;
        create trigger refuse before update of status on public.jobs for each row execute function refuse();
        """
    )

    async def complete() -> list:
        calls = (worker.queue.complete_job(job, COUNT) for job in taken)
        return await asyncio.gather(*calls, return_exceptions=True)

    first, refused, last = worker.do(complete())
    assert (first, last) == ((True, True), (True, True))
    assert "not this one" in str(refused)
