"""A worker that claims many jobs at once: all end, whoever comes onto the lane when and whatever one of them does."""

from user_jobs import UserJobs
from workers import Site, eventually

BATCH = 20


def left(jobs: UserJobs) -> int:
    return int(jobs.value("select count(*) from public.jobs where status in ('queued', 'processing')"))


def test_the_last_job_of_a_batch_comes_onto_the_lane_while_nothing_new_is_claimed(site: Site, jobs: UserJobs) -> None:
    site.start_idle(claim_batch=str(BATCH))
    for count, amount in ((2, 10), (1, 20), (3, 7), (1, 20)):
        for n in range(amount):
            jobs.submit(f"job {n}", count)
        eventually(lambda: left(jobs) == 0, "every job of the batch has ended")
    assert jobs.value("select count(*) from public.jobs where status = 'completed' and attempts = 1") == 57


def test_a_job_that_kills_its_worker_costs_those_of_its_batch_one_attempt_at_most(site: Site, jobs: UserJobs) -> None:
    poison = jobs.submit("poison", kills=0)
    others = [jobs.submit(f"other {n}") for n in range(8)]

    def restarted() -> bool:
        if all(worker.process.poll() is not None for worker in site.workers):
            site.start(claim_batch=str(BATCH))
        return left(jobs) == 0

    eventually(restarted, "every job has ended", 60)
    assert (jobs.get(poison)["status"], jobs.get(poison)["attempts"]) == ("failed", 3)
    assert {jobs.get(job)["status"] for job in others} == {"completed"}
    assert max(jobs.get(job)["attempts"] for job in others) <= 2
