"""store_prompt: what became of a prompt is on the job before anything is drawn from it."""

from collections.abc import Callable
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from consumer import job_types
from consumer.engines.base import Options
from consumer.engines.enhance import Enhancer, Rewritten
from consumer.engines.residency import Residency
from consumer.errors import JobCancelledError, LeaseLostError
from consumer.job import Job
from consumer.lane import Lane
from consumer.lease import Lease
from consumer.process import Workshop, enhance
from consumer.progress import Progress
from consumer.request import Request, parse
from consumer.watchdog import Watchdog
from jobs import Hands

TOLD = {"result": "rewritten", "model": "tiny", "seconds": 0.4, "tokens": 16}
ENHANCED = job_types.load()["image7b_fast_enhanced"]


class Scribe(Enhancer):
    """Has its answer ready, and meanwhile something happens."""

    def __init__(self, prompt: str | None, meanwhile: Callable[[], Any]) -> None:
        options = Options(device="cpu")
        super().__init__("tiny", options, Residency(options))
        self.prompt, self.meanwhile = prompt, meanwhile

    def rewrite(self, *_: Any) -> Rewritten:
        self.meanwhile()
        return Rewritten(self.prompt, TOLD)


def work(worker: Hands, lease: Lease, enhancer: Enhancer | None) -> Request:
    """What is drawn, once the prompt was rewritten."""
    watchdog = Watchdog({"load": 60.0})
    lane = Lane(watchdog)
    progress = Progress(lease, worker.assets, [0], 1, watchdog)
    unused: Any = None
    shop = Workshop(worker.queue, worker.assets, {}, {}, lane, unused, unused, enhancer, unused, print)
    try:
        return worker.do(enhance(lease, parse(lease.job, ENHANCED), progress, shop))
    finally:
        lane.close()


def store(worker: Hands, job: Job, prompt: str | None = "A harbour at dusk", **told: object) -> bool:
    return worker.do(worker.queue.store_prompt(job, prompt, TOLD | told))


def again(jobs, worker: Hands, other: Hands, job: Job) -> Job:
    """The same job in another worker's hands, after its first one died."""
    assert other.rescue(worker.id, None) == [(job.id, "queued")]
    return other.take()


def test_the_prompt_and_what_is_told_of_it_are_stored_and_the_original_is_kept(jobs, worker):
    job_id = jobs.add(original_prompt="a harbour", metadata={"steps": 3})
    job = worker.take()
    before = jobs.get(job_id)

    assert store(worker, job) is True

    row = jobs.get(job_id)
    assert (row["original_prompt"], row["enhanced_prompt"]) == ("a harbour", "A harbour at dusk")
    assert row["metadata"] == before["metadata"] | {"enhancement": TOLD}
    told = ("metadata", "enhanced_prompt", "updated_at", "version")
    assert {name: row[name] for name in row if name not in told} == {
        name: before[name] for name in before if name not in told
    }


def test_without_a_prompt_only_the_reason_is_stored(jobs, worker):
    job_id = jobs.add(original_prompt="a harbour")
    job = worker.take()
    assert store(worker, job, None, result="timed out") is True
    row = jobs.get(job_id)
    assert (row["original_prompt"], row["enhanced_prompt"]) == ("a harbour", None)
    assert row["metadata"]["enhancement"]["result"] == "timed out"


def test_the_next_attempt_begins_with_the_stored_prompt_and_asks_for_no_other(jobs, worker, other):
    jobs.add(original_prompt="a harbour", metadata={"style": "ink drawing"})
    first = worker.take()
    assert parse(first, ENHANCED).enhancement_model == "qwen_instruct"
    drawn = parse(first, ENHANCED).with_text("A harbour at dusk").prompt
    store(worker, first)
    request = parse(again(jobs, worker, other, first), ENHANCED)
    assert request.prompt == drawn == "A harbour at dusk, ink drawing"
    assert request.enhancement_model is None


@pytest.mark.parametrize("enhancer", [True, False], ids=["no answer", "no model"])
def test_an_attempt_that_kept_the_prompt_is_followed_by_one_that_keeps_it_too(jobs, worker, other, enhancer):
    """Else one job would have pictures of two prompts."""
    job_id = jobs.add(original_prompt="a harbour")
    first = worker.take()
    drawn = work(worker, Lease(first), Scribe(None, lambda: None) if enhancer else None)
    told = jobs.get(job_id)["metadata"]["enhancement"]
    asked: list[str] = []
    second = Scribe("A harbour at dusk", lambda: asked.append("once more"))
    request = work(other, Lease(again(jobs, worker, other, first)), second)
    row = jobs.get(job_id)
    assert (asked, request.prompt, drawn.prompt) == ([], "a harbour", "a harbour")
    assert (row["enhanced_prompt"], row["metadata"]["enhancement"]) == (None, told)


@pytest.mark.parametrize("model", ["qwen_instruct", None])
@pytest.mark.parametrize("sent", [{"result": "mine"}, {"result": ""}], ids=str)
def test_who_sends_a_result_himself_only_skips_the_rewriting(jobs, worker, sent, model):
    jobs.add(original_prompt="a harbour", metadata={"enhancement": sent, "enhancement_model": model})
    request = parse(worker.take(), ENHANCED)
    assert (request.prompt, request.enhancement_model) == ("a harbour", None)


@pytest.mark.parametrize(
    "odd", [None, True, 7, "timed out", [], ["result"], {}, {"result": 3}, {"result": {}}], ids=str
)
def test_anything_else_in_its_place_does_not_matter(jobs, worker, odd):
    jobs.add(original_prompt="a harbour", metadata={"enhancement": odd})
    request = parse(worker.take(), ENHANCED)
    assert (request.prompt, request.enhancement_model) == ("a harbour", "qwen_instruct")


@pytest.mark.parametrize(
    ("answer", "drawn"),
    [
        ("A harbour at dusk", "A harbour at dusk, ink drawing, wide (low) shot"),
        ("An Ink Drawing of a harbour", "An Ink Drawing of a harbour, wide (low) shot"),
        ("A harbour, wide (low) shot, ink drawing", "A harbour, wide (low) shot, ink drawing"),
        ("A pink drawing, ink drawings", "A pink drawing, ink drawings, ink drawing, wide (low) shot"),
    ],
)
def test_looks_that_an_answer_names_are_not_told_twice_in_any_attempt(jobs, worker, other, answer, drawn):
    jobs.add(original_prompt="a harbour", metadata={"style": "ink drawing", "shot_type": "wide (low) shot"})
    first = worker.take()
    assert parse(first, ENHANCED).prompt == "a harbour, ink drawing, wide (low) shot"
    assert work(worker, Lease(first), Scribe(answer, lambda: None)).prompt == drawn
    assert parse(again(jobs, worker, other, first), ENHANCED).prompt == drawn


def test_looks_that_an_own_prompt_names_are_appended_all_the_same(jobs, worker):
    jobs.add(original_prompt="a wide river", metadata={"shot_type": "wide"})
    assert parse(worker.take(), ENHANCED).prompt == "a wide river, wide"


def test_a_copy_without_a_prompt_asks_for_no_rewriting(jobs, worker):
    sent = {"exact_copy_mode": True, "reference_url": "https://example.com/a.png", "style": "ink drawing"}
    jobs.add(metadata=sent)
    request = parse(worker.take(), ENHANCED)
    assert (request.prompt, request.enhancement_model) == ("ink drawing", None)


def test_a_write_whose_reply_was_lost_is_repeated_without_harm(jobs, worker):
    job_id = jobs.add(original_prompt="a harbour")
    job = worker.take()
    assert store(worker, job)
    before = jobs.get(job_id)
    assert store(worker, job)
    row = jobs.get(job_id)
    assert (row["enhanced_prompt"], row["metadata"]) == (before["enhanced_prompt"], before["metadata"])


@pytest.mark.parametrize("status", ["queued", "completed", "failed", "cancelled"])
def test_nothing_is_stored_once_the_job_is_not_processing(jobs, worker, status):
    job_id = jobs.add()
    job = worker.take()
    jobs.set(job_id, status=status)
    before = jobs.rows(job_id)
    assert store(worker, job) is False
    assert jobs.rows(job_id) == before


def test_nothing_is_stored_for_a_job_that_another_worker_holds(jobs, worker, other):
    job_id = jobs.add()
    late = worker.take()
    again(jobs, worker, other, late)
    before = jobs.rows(job_id)
    assert store(worker, late) is False
    assert jobs.rows(job_id) == before


@pytest.mark.parametrize("odd", [["odd"], "odd", None], ids=str)
def test_metadata_that_is_no_object_does_not_keep_a_prompt_from_being_stored(jobs, worker, odd):
    job_id = jobs.add()
    job = worker.take()
    jobs.set(job_id, metadata=Jsonb(odd))
    assert store(worker, job) is True
    assert jobs.get(job_id)["metadata"] == {"enhancement": TOLD}


def test_what_a_user_sent_in_its_place_is_replaced(jobs, worker):
    job_id = jobs.add(metadata={"enhancement": {"result": "mine", "more": True}})
    job = worker.take()
    store(worker, job)
    assert jobs.get(job_id)["metadata"]["enhancement"] == TOLD


def test_the_prompt_is_on_the_job_when_it_is_drawn(jobs, worker):
    job_id = jobs.add(original_prompt="a harbour")
    request = work(worker, Lease(worker.take()), Scribe("A harbour at dusk", lambda: None))
    assert request.prompt == jobs.get(job_id)["enhanced_prompt"] == "A harbour at dusk"


def test_a_job_cancelled_while_its_prompt_is_rewritten_is_not_drawn(jobs, worker):
    job_id = jobs.add(original_prompt="a harbour")
    lease = Lease(worker.take())
    before = []

    def cancel() -> None:
        jobs.run("select public.cancel_job(%s)", job_id)
        before.append(jobs.rows(job_id))

    with pytest.raises(LeaseLostError):
        work(worker, lease, Scribe("A harbour at dusk", cancel))
    assert [jobs.rows(job_id)] == before


def test_the_reason_to_stop_that_is_known_already_is_told(jobs, worker):
    job_id = jobs.add(original_prompt="a harbour")
    lease = Lease(worker.take())

    def cancel() -> None:
        jobs.run("select public.cancel_job(%s)", job_id)
        lease.stop(JobCancelledError("This job was cancelled."))

    with pytest.raises(JobCancelledError):
        work(worker, lease, Scribe("A harbour at dusk", cancel))


def test_a_worker_without_a_language_model_keeps_the_prompt_and_says_so(jobs, worker):
    job_id = jobs.add(original_prompt="a harbour")
    request = work(worker, Lease(worker.take()), None)
    row = jobs.get(job_id)
    assert (request.prompt, row["enhanced_prompt"]) == ("a harbour", None)
    assert row["metadata"]["enhancement"] == {"result": "no language model here"}
