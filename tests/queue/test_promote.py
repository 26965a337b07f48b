"""promote_due: jobs that waited for their time."""

import pytest


@pytest.fixture
def delayed(jobs):
    """Adds a job that is due in so many seconds; a negative number was due already."""

    def add(seconds):
        job_id = jobs.add()
        due = jobs.value("select now() + make_interval(secs => %s)", seconds)
        jobs.set(job_id, queue_at=None, available_at=due)
        return job_id

    return add


def test_a_due_job_goes_in_line_at_its_old_place(jobs, worker, delayed):
    first, second = delayed(-1), jobs.add()
    assert worker.promote() == (1, None)
    row = jobs.get(first)
    assert (row["status"], row["available_at"]) == ("queued", None)
    assert row["queue_at"] == row["start_tag"] is not None
    assert [worker.take().id for _ in range(2)] == [first, second]


def test_a_job_that_is_not_due_stays_and_says_when_it_is(jobs, worker, delayed):
    late, soon = delayed(300), delayed(100)
    before = [jobs.get(late), jobs.get(soon)]
    promoted, next_due = worker.promote()
    assert promoted == 0
    assert 90 < next_due <= 100
    assert [jobs.get(late), jobs.get(soon)] == before


def test_due_jobs_do_not_hide_the_next_one(worker, delayed):
    for seconds in (-5, -1, 100):
        delayed(seconds)
    promoted, next_due = worker.promote()
    assert promoted == 2
    assert 90 < next_due <= 100


def test_without_any_delayed_job_there_is_no_next_time(jobs, worker):
    jobs.add()
    worker.take()
    jobs.add()
    assert worker.promote() == (0, None)


@pytest.mark.parametrize("columns", [{"status": "cancelled"}, {"status": "processing"}, {"engine": None}], ids=str)
def test_a_job_that_does_not_wait_for_us_is_not_promoted(jobs, worker, delayed, columns):
    job_id = delayed(-1)
    jobs.set(job_id, **columns)
    before = jobs.get(job_id)
    assert worker.promote() == (0, None)
    assert jobs.get(job_id) == before


def test_a_job_that_was_sent_for_later_is_promoted_when_it_is_due(jobs, worker):
    job_id = jobs.add(available_at=jobs.value("select now() + interval '1 hour'"))
    assert worker.promote()[0] == 0
    jobs.set(job_id, available_at=jobs.value("select now()"))
    assert worker.promote() == (1, None)
    assert worker.take().id == job_id


def test_an_old_row_that_never_had_a_place_goes_to_the_end(jobs, worker, delayed):
    old, new = delayed(-1), jobs.add()
    jobs.set(old, start_tag=None)
    worker.promote()
    assert [worker.take().id for _ in range(2)] == [new, old]


def test_a_job_that_is_never_due_hides_no_other(jobs, worker, delayed):
    jobs.set(jobs.add(), queue_at=None, available_at="infinity")
    assert worker.promote() == (0, None)
    delayed(100)
    _, next_due = worker.promote()
    assert 90 < next_due <= 100
