"""An engine that hangs: it is noticed and said, its attempt has failed, and the process ends for a restart."""

import pytest

from consumer.engines.base import Phase
from user_jobs import UserJobs
from workers import Site, eventually

# Where the puppet stops in each phase of a job named `job`.
POINTS = {
    "load": "load",
    "enhance": "job.enhance",
    "compile": "job.compile",
    "encode": "job.encode",
    "step": "job.0.middle",
    "decode": "job.decode",
}


@pytest.mark.parametrize("phase", [phase.value for phase in Phase])
def test_a_phase_that_lasts_too_long_fails_the_attempt_and_ends_the_process(
    site: Site, jobs: UserJobs, phase: str
) -> None:
    gate = site.gate(POINTS[phase])
    job = jobs.submit("job", phases=["enhance", "encode", "compile", "decode"])
    after = jobs.submit("after")
    worker = site.start(phase_seconds=f"{phase}=0.3")
    gate.wait()
    assert worker.wait_for("engine.hung", job_id=job, phase=phase)["seconds"] == 0.3
    # The engine hangs until the end of the test.
    assert worker.wait() == 3
    row = jobs.get(job)
    assert (row["status"], row["attempts"]) == ("queued", 1)
    assert row["available_at"] is not None, "it waits for its next attempt"
    [error] = row["errors"]
    assert error["type"] == "EngineHungError"
    assert error["message"] == f"The work hung in the phase {phase}: nothing happened for 0.3 seconds."
    assert worker.events("worker.draining", reason=error["message"])
    assert jobs.get(after)["claim_id"] is None, "nothing is claimed by a process that cannot work"
    assert not site.drawn()


def test_a_job_that_hangs_in_its_last_attempt_has_failed(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("job.0.middle"), jobs.submit("job", 2)
    worker = site.start(phase_seconds="step=0.3", max_attempts="1")
    gate.wait()
    assert worker.wait() == 3
    words = "The work hung in the phase step: nothing happened for 0.3 seconds."
    row = jobs.get(job)
    assert (row["status"], row["attempts"], row["error_message"]) == ("failed", 1, words)
    assert {(image["status"], image["error_message"]) for image in jobs.images(job)} == {("failed", words)}


def test_what_is_in_delivery_is_finished_before_the_process_ends(site: Site, jobs: UserJobs) -> None:
    encoding, drawing = site.gate("first.0.encode"), site.gate("second.1.middle")
    first, second = jobs.submit("first"), jobs.submit("second", 2)
    worker = site.start(phase_seconds="step=0.3")
    encoding.wait()
    drawing.wait()
    worker.wait_for("job.retry", job_id=second)
    assert jobs.get(first)["status"] == "processing"
    encoding.release()
    worker.wait_for("job.completed", job_id=first, attempt=1)
    assert worker.wait() == 3
    assert [image["status"] for image in jobs.images(second)] == ["completed", "queued"], "what was made is kept"


def test_an_engine_that_goes_on_is_left_alone_however_long_it_takes(site: Site, jobs: UserJobs) -> None:
    site.endless.touch()
    gate, job = site.gate("job.0.middle"), jobs.submit("job", endless=[0])
    worker = site.start("--once", phase_seconds="step=0.3")
    gate.wait()
    gate.release()
    # Each is half a second, and longer than the limit.
    jobs.wait_for_beats(4)
    site.endless.unlink()
    assert worker.wait() == 0
    assert jobs.get(job)["status"] == "completed"
    assert not worker.events("engine.hung")


def test_an_engine_whose_outputs_wait_for_delivery_does_not_hang(site: Site, jobs: UserJobs) -> None:
    # Both encoders stand still; eight outputs are under way, and the engine is not asked for the tenth.
    gates = [site.gate("job.0.encode"), site.gate("job.1.encode")]
    job = jobs.submit("job", 12)
    worker = site.start("--once", phase_seconds="step=0.3,load=0.3")
    for gate in gates:
        gate.wait()
    eventually(lambda: len(site.drawn("job")) == 9, "the engine waits for delivery")
    jobs.wait_for_beats(4)
    assert len(site.drawn("job")) == 9
    for gate in gates:
        gate.release()
    assert worker.wait() == 0
    assert (jobs.get(job)["status"], jobs.get(job)["attempts"]) == ("completed", 1)
    assert not worker.events("engine.hung")
