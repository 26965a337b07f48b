"""A job that kills its worker each time: it ends failed, and the others are done all the same."""

import signal

from consumer.queue import WORKER_LOST
from user_jobs import UserJobs
from workers import Site, eventually

ATTEMPTS, OTHERS = 3, 6


def test_a_job_that_kills_each_worker_fails_after_its_attempts_and_the_others_are_done(
    site: Site, jobs: UserJobs
) -> None:
    before = [jobs.submit(f"before {n}") for n in range(OTHERS // 2)]
    poison = jobs.submit("poison", 2, kills=1, works=0.5)
    others = before + [jobs.submit(f"after {n}") for n in range(OTHERS // 2)]
    fleet = [site.start() for _ in range(2)]

    def restarted() -> bool:
        for place, worker in enumerate(fleet):
            if worker.process.poll() is not None:
                fleet[place] = site.start()
        return not jobs.run("select id from public.jobs where status in ('queued', 'processing') limit 1")

    eventually(restarted, "every job has ended", 60)

    dead = [worker for worker in site.workers if worker not in fleet]
    assert [worker.wait() for worker in dead] == [-signal.SIGKILL] * ATTEMPTS
    row = jobs.get(poison)
    assert (row["status"], row["attempts"], row["error_message"]) == ("failed", ATTEMPTS, WORKER_LOST)
    assert [(error["type"], error["attempt"]) for error in row["errors"]] == [
        ("WorkerLost", attempt) for attempt in range(1, ATTEMPTS + 1)
    ]
    assert {error["worker"] for error in row["errors"]} == {str(worker.id) for worker in dead}
    # The first picture was made and stored before the second one killed.
    assert [image["status"] for image in jobs.images(poison)][1] == "failed"
    assert {jobs.get(job)["status"] for job in others} == {"completed"}
    assert all(worker.process.poll() is None for worker in fleet)
