"""An application's tables may have columns that are called like what our functions and statements use."""

import asyncio
import re

import psycopg
import pytest

from consumer.database import Database as Pool
from consumer.job import Medium
from consumer.statements import SQL
from jobs import Hands, Jobs, result
from postgres import Database

FUNCTION = re.compile(r"CREATE FUNCTION \w+\.\w+\((.*?)\) RETURNS .*? AS (\$_?\w*\$)(.*?)\2", re.DOTALL)
ALIAS = re.compile(r"\bas (\w+)|\b(?:public\.|consumer\.|new_)\w+ (\w)\b")


def names() -> set[str]:
    """The parameters, variables and aliases of the schema's functions and of the worker's statements."""
    found: set[str] = set()
    texts = [path.read_text() for path in (SQL / "queries").glob("*.sql")]
    for parameters, _, body in FUNCTION.findall((SQL / "schema.sql").read_text()):
        texts.append(body)
        found |= set(re.findall(r"(?:^|, )(\w+) \w", parameters))
        if declared := re.search(r"\bdeclare\n(.*?)\nbegin", body, re.DOTALL):
            found |= set(re.findall(r"^ +(\w+) ", declared[1], re.MULTILINE))
    for text in texts:
        found |= {name for pair in ALIAS.findall(text) for name in pair if name}
    return found


@pytest.fixture
def crowded(db: Database) -> Jobs:
    """The tables with a column of each of these names."""
    with psycopg.connect(db.admin_dsn) as owner:
        for table in ("jobs", "images", "videos"):
            for name in names():
                owner.execute(f'alter table public.{table} add column if not exists "{name}" text'.encode())
    return Jobs(db)


def test_columns_of_the_applications_are_in_nobodys_way(db: Database, crowded: Jobs) -> None:
    assert names() > {"wanted", "holder", "place", "t", "j", "pending", "rank"}
    jobs, pool = crowded, Pool(db.dsn)
    for user in (jobs.user, None):
        jobs.run("insert into consumer.user_limits (user_id, max_queued, max_running) values (%s, 99, 9)", user)
    sent = [jobs.add(count=2) for _ in range(5)]
    film = jobs.add("video_fast")
    drawn = jobs.insert("images", {"user_id": jobs.user, "status": "queued"})
    named = jobs.add(image_id=drawn)
    assert jobs.images(named)[0]["id"] == drawn
    jobs.run("delete from public.jobs where id = %s", named)
    with asyncio.Runner() as runner:
        runner.run(pool.open())
        worker = Hands(runner, pool)
        worker.beat(idle=True)
        first = worker.take()
        worker.progress(first, 50, {0: 50})
        assert worker.do(worker.assets.pending(first, Medium.image, 2)) == first.pending == [0, 1]
        assert worker.record(first, 0)
        assert worker.do(worker.assets.record(first, Medium.image, result(first, 1), 2)) == (True, True)

        second, third, fourth = worker.do(worker.queue.claim_jobs(["sketch"], 3))
        assert worker.retry(second)
        assert worker.fail(third)
        assert worker.release(fourth)
        [moving] = worker.do(worker.queue.claim_jobs(["video_fast"], 2))
        assert worker.do(worker.assets.pending(moving, Medium.video, 1)) == [0]
        assert worker.record(moving, 0, Medium.video)
        assert worker.complete(moving) == (True, True)
        assert worker.take().id == fourth.id
        assert worker.rescue(worker.id, 0) == [(fourth.id, "queued")]
        worker.promote()
        runner.run(pool.close())
    jobs.insert("images", {"user_id": jobs.user, "job_id": sent[4], "status": "queued"})
    [(place,)] = db.execute_as(jobs.user, "select public.queue_position(%s)", [sent[4]])
    assert place in (1, 2), "behind the rescued one at most"
    assert db.execute_as(jobs.user, "select public.cancel_job(%s)", [sent[4]]) == [("cancelled",)]
    assert db.execute_as(jobs.user, "select public.retry_job(%s)", [sent[4]]) == [("queued",)]
    jobs.run("delete from public.jobs")
    assert (jobs.images(sent[0]), jobs.videos(film)) == ([], [])
