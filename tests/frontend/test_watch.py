"""The example with the real supabase-js, on a real database: what is shown, whatever Realtime leaves out."""

import asyncio
import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumer.database import Database as Pool
from gateway import Gateway, token
from jobs import Hands, Jobs
from node import Frontend, node_major
from postgres import Database
from workers import eventually

pytestmark = pytest.mark.npm

NEVER = {"pollSeconds": 3600}
BIG = Random(7).randbytes(10_000).hex()
View = dict[str, Any]


class Page:
    """The example in a process of its own."""

    def __init__(self, frontend: Frontend, gateway: Gateway, user: UUID) -> None:
        options = [] if node_major() >= 22 else ["--experimental-websocket", "--no-warnings"]
        command = [*frontend.command("drive.mjs", *options), gateway.url, token(user)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.shown: list[list[View]] = []
        self.errors: list[str] = []
        self._replies: queue.Queue[Any] = queue.Queue()
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            [(name, value)] = json.loads(line).items()
            with self._news:
                if name == "shown":
                    self.shown.append(value)
                elif name == "error":
                    self.errors.append(value)
                else:
                    self._replies.put(value)
                self._news.notify_all()

    def call(self, name: str, *sent: Any) -> Any:
        """What a function of the example returned."""
        assert self.process.stdin
        print(json.dumps([name, *sent], default=str), file=self.process.stdin, flush=True)
        return self._replies.get(timeout=20)

    def until(self, found: Callable[[list[View]], Any], what: str) -> list[View]:
        """What is shown, as soon as it is so."""
        with self._news:
            assert self._news.wait_for(lambda: self.shown and found(self.shown[-1]), 20), f"not shown: {what}"
            return self.shown[-1]

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self._reader.join()
        self.process.stdout.close()


def status(view: View) -> tuple[str, list[str]]:
    return view["job"]["status"], [image["status"] for image in view["images"]]


@pytest.fixture
def jobs(db: Database) -> Jobs:
    return Jobs(db)


@pytest.fixture
def gateway(db: Database) -> Iterator[Gateway]:
    with Gateway(db) as gateway:
        yield gateway


@pytest.fixture
def page(frontend: Frontend, gateway: Gateway, jobs: Jobs) -> Iterator[Page]:
    page = Page(frontend, gateway, jobs.user)
    yield page
    gateway.answers.set()
    page.close()


@pytest.fixture
def worker(db: Database) -> Iterator[Hands]:
    pool = Pool(db.dsn)
    with asyncio.Runner() as runner:
        runner.run(pool.open())
        yield Hands(runner, pool)
        runner.run(pool.close())


def finish(worker: Hands, count: int) -> None:
    job = worker.take()
    for index in range(count):
        worker.record(job, index)
    assert worker.complete(job, count) == (True, True)


def stored(jobs: Jobs, job_id: str) -> View:
    """What is to be shown of a job of images in the end."""
    statement = "select to_jsonb(j) as job, (select jsonb_agg(to_jsonb(i) order by image_index) from public.images i"
    [row] = jobs.run(f"{statement} where i.job_id = j.id) as images from public.jobs j where id = %s", job_id)
    return {**row, "videos": []}


def comparable(view: View) -> View:
    """Without times, which Realtime writes in another way than a query."""
    return {
        name: [comparable(each) for each in value] if name in ("images", "videos") else
        comparable(value) if name == "job" else value
        for name, value in view.items() if not name.endswith(("_at", "_tag"))
    }  # fmt: skip


def test_a_job_is_shown_from_its_submission_to_its_pictures(page: Page, jobs: Jobs, worker: Hands) -> None:
    job_id = page.call("submit", "sketch", "A harbour", {"num_images": 3})
    page.call("watch", {"jobId": job_id}, NEVER)
    page.until(lambda views: views and status(views[0]) == ("queued", ["queued"] * 3), "three queued pictures")
    job = worker.take()
    worker.progress(job, 30, {0: 40})
    page.until(lambda views: views[0]["images"][0]["progress"] == 40, "its progress")
    for index in range(3):
        worker.record(job, index)
    worker.complete(job, 3)
    [view] = page.until(lambda views: status(views[0]) == ("completed", ["completed"] * 3), "three pictures")
    assert comparable(view) == comparable(stored(jobs, job_id))
    assert [image["image_url"] for image in view["images"]] == [f"{jobs.user}/{job_id}/{n}.png" for n in range(3)]
    assert page.errors == []


def test_the_jobs_of_a_user_are_shown_the_newest_first_and_new_ones_come_by_themselves(
    page: Page, jobs: Jobs, db: Database, worker: Hands
) -> None:
    first = jobs.add()
    Jobs(db).add()
    page.call("watch", {"userId": str(jobs.user)}, NEVER)
    page.until(lambda views: len(views) == 1, "the job that was there")
    second = page.call("submit", "sketch", "Another one", {"num_images": 2})
    finish(worker, 1)
    views = page.until(
        lambda views: [status(view)[0] for view in views] == ["queued", "completed"] and len(views[0]["images"]) == 2,
        "a queued job above a completed one",
    )
    assert [view["job"]["id"] for view in views] == [second, str(first)]


def test_what_happens_before_realtime_really_tells_is_asked_for_when_it_does(
    page: Page, gateway: Gateway, jobs: Jobs, worker: Hands
) -> None:
    gateway.attaches.clear()
    job_id = jobs.add()
    page.call("watch", {"jobId": job_id}, NEVER)
    page.until(lambda _: len(page.shown) >= 2, "the job, asked for at first and again when the channel is joined")
    finish(worker, 1)
    gateway.attaches.set()
    page.until(lambda views: status(views[0]) == ("completed", ["completed"]), "the picture")


def test_what_happens_while_the_connection_is_cut_is_asked_for_on_the_next_one(
    page: Page, gateway: Gateway, jobs: Jobs, worker: Hands
) -> None:
    job_id = jobs.add(count=2)
    page.call("watch", {"jobId": job_id}, NEVER)
    job = worker.take()
    page.until(lambda views: views and status(views[0])[0] == "processing", "the job")
    gateway.open = False
    gateway.drop()
    for index in range(2):
        worker.record(job, index)
    worker.complete(job, 2)
    gateway.open = True
    page.until(lambda views: status(views[0]) == ("completed", ["completed"] * 2), "two pictures")


def test_without_any_realtime_the_job_is_asked_for_until_it_is_over_and_no_longer(
    page: Page, gateway: Gateway, jobs: Jobs, worker: Hands
) -> None:
    gateway.open = False
    job_id = jobs.add()
    page.call("watch", {"jobId": job_id}, {"pollSeconds": 0.1})
    page.until(lambda views: views and status(views[0])[0] == "queued", "the job")
    finish(worker, 1)
    page.until(lambda views: status(views[0]) == ("completed", ["completed"]), "the picture")
    asked = gateway.queries
    page.call("tick", 1)
    assert gateway.queries == asked


def test_without_any_realtime_a_job_that_comes_when_all_others_are_over_is_shown(
    page: Page, gateway: Gateway, jobs: Jobs, worker: Hands
) -> None:
    gateway.open = False
    jobs.add()
    finish(worker, 1)
    page.call("watch", {"userId": str(jobs.user)}, {"pollSeconds": 0.1})
    page.until(lambda views: [status(view)[0] for view in views] == ["completed"], "the job that is over")
    jobs.add()
    page.until(lambda views: [status(view)[0] for view in views] == ["queued", "completed"], "the new one")


def test_the_jobs_of_a_user_that_are_all_over_are_asked_for_only_while_realtime_does_not_tell(
    page: Page, gateway: Gateway, jobs: Jobs
) -> None:
    def asked_within_half_a_second() -> bool:
        asked = gateway.queries
        page.call("tick", 0.5)
        return gateway.queries > asked

    gateway.attaches.clear()
    page.call("watch", {"userId": str(jobs.user)}, {"pollSeconds": 0.1})
    page.until(lambda _: len(page.shown) >= 5, "several answers while nothing is told yet")
    gateway.attaches.set()
    eventually(lambda: not asked_within_half_a_second(), "no more queries")
    gateway.open = False
    gateway.drop()
    eventually(asked_within_half_a_second, "queries again")
    jobs.add()
    page.until(lambda views: len(views) == 1, "the new job")


def test_an_answer_that_was_late_does_not_take_back_what_was_told_meanwhile(
    page: Page, gateway: Gateway, jobs: Jobs, worker: Hands
) -> None:
    job_id = jobs.add()
    page.call("watch", {"jobId": job_id}, NEVER)
    page.until(lambda views: views and status(views[0])[0] == "queued", "the job")
    asked = gateway.queries
    gateway.answers.clear()
    page.call("refetch")
    while gateway.queries == asked:
        page.call("sign", [])
    finish(worker, 1)
    page.until(lambda views: status(views[0]) == ("completed", ["completed"]), "the picture, by Realtime")
    before = len(page.shown)
    gateway.answers.set()
    page.until(lambda _: len(page.shown) > before, "the late answer")
    assert {status(view) == ("completed", ["completed"]) for [view] in page.shown[before:]} == {True}


def test_a_job_that_came_while_a_query_was_under_way_stays(page: Page, gateway: Gateway, jobs: Jobs) -> None:
    jobs.add()
    page.call("watch", {"userId": str(jobs.user)}, NEVER)
    page.until(lambda views: len(views) == 1 and len(page.shown) >= 3, "the first, and that all is calm")
    asked = gateway.queries
    gateway.answers.clear()
    page.call("refetch")
    while gateway.queries == asked:
        page.call("sign", [])
    jobs.add()
    page.until(lambda views: len(views) == 2 and len(views[0]["images"]) == 1, "the second, by Realtime")
    before = len(page.shown)
    gateway.answers.set()
    page.until(lambda _: len(page.shown) > before, "the answer, which does not have it")
    assert {len(views) for views in page.shown[before:]} == {2}


def test_a_row_of_the_application_takes_the_place_of_ours(page: Page, jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add()
    page.call("watch", {"jobId": job_id}, NEVER)
    page.until(lambda views: views and status(views[0])[0] == "queued", "the job")
    job = worker.take()
    mine = jobs.insert("images", {"user_id": jobs.user, "job_id": job_id, "image_index": 0, "title": "mine"})
    worker.record(job)
    worker.complete(job)
    [view] = page.until(lambda views: status(views[0]) == ("completed", ["completed"]), "the picture")
    assert [(image["id"], image["title"]) for image in view["images"]] == [(str(mine), "mine")]
    assert comparable(view) == comparable(stored(jobs, str(job_id)))


def test_big_values_that_realtime_leaves_out_stay(page: Page, jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add(original_prompt=BIG)
    page.call("watch", {"jobId": job_id}, NEVER)
    page.until(lambda views: views and status(views[0])[0] == "queued", "the job")
    finish(worker, 1)
    [view] = page.until(lambda views: status(views[0]) == ("completed", ["completed"]), "the picture")
    assert view["job"]["original_prompt"] == BIG
    assert view["images"][0]["prompt"] == BIG


def test_a_job_is_cancelled_and_tried_again(page: Page, jobs: Jobs) -> None:
    job_id = page.call("submit", "sketch", "A harbour")
    page.call("watch", {"jobId": job_id}, NEVER)
    assert page.call("cancel", job_id) == "cancelled"
    page.until(lambda views: views and status(views[0])[0] == "cancelled", "that it is cancelled")
    assert page.call("retry", job_id) == "queued"
    page.until(lambda views: status(views[0])[0] == "queued", "that it is queued")


def test_refusals_are_sentences_for_the_user(page: Page, jobs: Jobs, db: Database) -> None:
    refused = page.call("submit", "sketch", "A harbour", {"num_images": 99})
    assert refused["message"].startswith("num_images must be a whole number from 1 to ")
    assert page.call("cancel", str(Jobs(db).add()))["message"] == "There is no such job of yours."


def test_a_job_that_is_sent_again_after_a_lost_reply_is_there_once(page: Page, jobs: Jobs) -> None:
    key = str(uuid4())
    assert page.call("submit", "sketch", "A harbour", {}, key) == key
    assert page.call("submit", "sketch", "A harbour", {}, key)["code"] == "23505"
    assert jobs.value("select count(*) from public.jobs") == 1


def test_own_paths_are_signed_and_others_left_out(page: Page, gateway: Gateway, jobs: Jobs) -> None:
    own, other = f"{jobs.user}/job/0.png", f"{uuid4()}/job/0.png"
    for name in (own, other):
        jobs.run("insert into storage.objects (bucket_id, name) values ('workspace-temp', %s)", name)
    signed = page.call("sign", [own, other, f"{jobs.user}/job/1.png"])
    assert signed == {own: f"{gateway.url}/storage/v1/object/sign/workspace-temp/{own}?token=60"}
