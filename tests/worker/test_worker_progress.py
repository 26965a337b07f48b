"""How far a job is, as its user sees it."""

from itertools import pairwise

from user_jobs import UserJobs
from workers import Site, eventually

AUDIT = """
create table public.audit (n bigserial, id uuid, status text, progress integer);
create function public.audit() returns trigger language plpgsql as $$
begin
  insert into public.audit (id, status, progress)
  values (new.id, new.status, coalesce(to_jsonb(new) ->> 'progress', to_jsonb(new) #>> '{metadata,progress}')::integer);
  return null;
end $$;
create trigger audit after update on public.jobs for each row execute function public.audit();
create trigger audit after update on public.images for each row execute function public.audit();
"""


def test_progress_rises_while_the_engine_works_and_never_moves_after_the_end(site: Site, jobs: UserJobs) -> None:
    jobs.connection.execute(AUDIT)
    first, second = site.gate("job.0.middle"), site.gate("job.1.middle")
    job = jobs.submit("job", 2)
    worker = site.start()

    first.wait()
    eventually(lambda: jobs.get(job)["metadata"].get("progress") == 25, "a quarter is done")
    assert jobs.get(job)["status"] == "processing"
    assert [(i["status"], i["progress"]) for i in jobs.images(job)] == [("processing", 50), ("processing", 0)]
    first.release()
    second.wait()
    worker.wait_for("asset.recorded", job_id=job, index=0)
    eventually(lambda: 70 <= jobs.get(job)["metadata"]["progress"] <= 75, "three quarters are done")
    assert [(i["status"], i["progress"]) for i in jobs.images(job)] == [("completed", 100), ("processing", 50)]
    second.release()
    worker.wait_for("job.completed", job_id=job)
    # Longer than the interval of the reports.
    jobs.wait_for_beats(3)

    assert jobs.get(job)["metadata"]["progress"] == 100
    for row in (jobs.get(job), *jobs.images(job)):
        seen = jobs.run("select status, progress from public.audit where id = %s order by n", row["id"])
        assert (seen[-1]["status"], seen[-1]["progress"]) == ("completed", 100)
        assert "completed" not in [each["status"] for each in seen[:-1]], "nothing is written after the end"
        assert all(a <= b for a, b in pairwise(each["progress"] or 0 for each in seen))


def test_the_progress_of_an_attempt_that_failed_is_taken_back_from_its_pictures(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.middle"), jobs.submit("job", raises="ValueError")
    worker = site.start()
    gate.wait()
    eventually(lambda: jobs.images(job)[0]["progress"] == 50, "half of it is done")
    gate.release()
    worker.wait_for("job.retry", job_id=job)
    assert [(i["status"], i["progress"]) for i in jobs.images(job)] == [("queued", None)]
