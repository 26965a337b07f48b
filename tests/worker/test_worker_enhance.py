"""Prompts that are rewritten before anything is drawn: by real workers, with a tiny language model."""

import json
from typing import Any
from uuid import UUID

import pytest

from user_jobs import UserJobs
from workers import Site, Worker, check_picture

# To import torch takes a while on a busy machine.
PATIENCE = 60.0
TINY = {"model_enhance": "tiny", "enhance_tokens": "16", "device": "cpu", "OMP_NUM_THREADS": "1"}
PROMPT = "a harbour at night"


def drawn(site: Site) -> dict[str, list[str]]:
    """The prompts that puppets were given, by the name of the job."""
    found: dict[str, list[str]] = {}
    for line in map(json.loads, (site.gates / "prompts").read_text().splitlines()):
        found.setdefault(line["job"], []).append(line["prompt"])
    return found


def told(worker: Worker, job: UUID) -> list[dict[str, Any]]:
    """What the log says of the job's prompt."""
    return [event for event in worker.events(job_id=job) if event["event"].startswith("prompt.")]


@pytest.mark.models
def test_a_prompt_is_rewritten_once_even_if_its_worker_dies_right_afterwards(site: Site, jobs: UserJobs) -> None:
    gate = site.gate("job.0.start")
    job = jobs.submit(PROMPT, job_type="puppet_enhanced", name="job", style="ink drawing")
    first = site.start(**TINY)
    gate.wait(PATIENCE)
    before = jobs.get(job)
    stored = before["enhanced_prompt"]
    assert len(stored.split()) > 3
    assert before["original_prompt"] == PROMPT
    enhancement = before["metadata"]["enhancement"]
    assert (enhancement["result"], enhancement["model"], enhancement["tokens"]) == ("rewritten", "tiny", 16)
    [event] = told(first, job)
    assert (event["event"], event["seconds"], event["tokens"]) == ("prompt.enhanced", enhancement["seconds"], 16)
    first.kill()

    second = site.start("--max-jobs", "1", **TINY)

    assert second.wait(PATIENCE) == 0
    assert told(second, job) == []
    assert not second.events("model.loaded")
    row = jobs.get(job)
    assert (row["status"], row["attempts"], row["original_prompt"]) == ("completed", 2, PROMPT)
    assert (row["enhanced_prompt"], row["metadata"]["enhancement"]) == (stored, enhancement)
    assert drawn(site) == {"job": [f"{stored}, ink drawing"] * 2}
    check_picture(site, jobs.images(job)[0])
    for text in (PROMPT, stored):
        assert text not in first.output + second.output


@pytest.mark.models
def test_a_request_decides_whether_and_how_its_prompt_is_rewritten(site: Site, jobs: UserJobs) -> None:
    kept = {
        "skipped": jobs.submit(PROMPT, job_type="puppet_enhanced", name="skipped", skip_enhancement=True),
        "none": jobs.submit(PROMPT, job_type="puppet_enhanced", name="none", enhancement_model="none"),
        "plain": jobs.submit(PROMPT, name="plain"),
    }
    rewritten = {
        "asked": jobs.submit(PROMPT, name="asked", enhancement_model="qwen_instruct"),
        "base": jobs.submit(PROMPT, name="base", enhancement_model="qwen_base"),
        "by default": jobs.submit(PROMPT, job_type="puppet_enhanced", name="by default"),
    }
    own = jobs.submit(PROMPT, job_type="puppet_enhanced", name="own")
    jobs.set(own, enhanced_prompt="the user's own")

    worker = site.start("--max-jobs", "7", model_enhance_base="tiny", **TINY)

    assert worker.wait(PATIENCE) == 0
    prompts = drawn(site)
    for name, job in kept.items():
        row = jobs.get(job)
        assert (row["status"], row["enhanced_prompt"], prompts[name]) == ("completed", None, [PROMPT])
        assert "enhancement" not in row["metadata"]
        assert told(worker, job) == []
    for name, job in rewritten.items():
        row = jobs.get(job)
        assert (row["status"], row["original_prompt"]) == ("completed", PROMPT)
        assert row["metadata"]["enhancement"]["result"] == "rewritten"
        assert prompts[name] == [row["enhanced_prompt"]] != [PROMPT]
    assert prompts["asked"] == prompts["by default"] != prompts["base"]
    assert (jobs.get(own)["enhanced_prompt"], prompts["own"]) == ("the user's own", ["the user's own"])
    assert len(worker.events("model.loaded")) == 2


@pytest.mark.models
def test_no_request_ends_a_worker_whose_language_models_are_wrong(site: Site, jobs: UserJobs) -> None:
    kinds = ("qwen_instruct", "qwen_base")
    asked = {kind: jobs.submit(PROMPT, name=kind, enhancement_model=kind) for kind in kinds}
    wrong = TINY | {"model_enhance": "/nowhere/chat", "model_enhance_base": "/nowhere/base"}
    worker = site.start("--max-jobs", "2", **wrong)
    assert worker.wait(PATIENCE) == 0
    for job in asked.values():
        row = jobs.get(job)
        assert (row["status"], row["attempts"], row["enhanced_prompt"]) == ("completed", 1, None)
        assert row["metadata"]["enhancement"] == {"result": "no language model could be loaded"}
    assert drawn(site) == {kind: [PROMPT] for kind in kinds}
    said = [(event["level"], event["setting"]) for event in worker.events("enhancer.unavailable")]
    assert sorted(said) == [("error", "CONSUMER_MODEL_ENHANCE"), ("error", "CONSUMER_MODEL_ENHANCE_BASE")]
    assert "/nowhere" not in worker.output


def test_where_sketch_stands_in_the_prompt_stays_and_the_row_says_why(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit(PROMPT, job_type="image7b_fast_enhanced", width=64, height=64)
    worker = site.start("--once", engines="sketch")
    assert worker.wait() == 0
    row = jobs.get(job)
    assert (row["status"], row["original_prompt"], row["enhanced_prompt"]) == ("completed", PROMPT, None)
    assert row["metadata"]["enhancement"] == {"result": "no language model here"}
    [event] = told(worker, job)
    assert (event["event"], event["reason"]) == ("prompt.kept", "no language model here")
