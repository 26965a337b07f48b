"""The configured default is loaded before the first claim, and the worker is there meanwhile."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.engines import BUILT_IN, create
from consumer.engines.base import Engine, Options
from consumer.errors import UsageError
from consumer.preload import choose
from user_jobs import UserJobs
from workers import OURS, Site, eventually

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


def health(path: Path) -> tuple[int, str]:
    """The exit code of `consumer health`, and its line."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "health"], env=inherited | {"CONSUMER_HEALTH_FILE": str(path)},
        capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_worker_that_loads_hears_and_beats_and_leaves_the_jobs_to_others(
    site: Site, jobs: UserJobs, tmp_path: Path
) -> None:
    gate, path = site.gate("load"), tmp_path / "health"
    job = jobs.submit("job")
    worker = site.start(preload="puppet", health_file=str(path))
    gate.wait()
    assert worker.events("listener.connected"), "it heard before it loaded"
    worker.wait_for("listener.hears")
    jobs.wait_for_beats(5)
    assert json.loads(path.read_text())["state"] == "loading"
    code, line = health(path)
    assert code == 0
    assert line.startswith("The worker is loading: database connected, listener hears, ")
    assert jobs.get(job)["claim_id"] is None

    other = site.start("--once", preload="none")
    other.wait_for("job.completed", job_id=job, attempt=1)
    assert other.wait() == 0

    after = jobs.submit("after")
    gate.release()
    loaded = worker.wait_for("engine.loaded", engine="puppet")
    # It stood for more than two leases.
    assert loaded["seconds"] > 2
    worker.wait_for("job.completed", job_id=after)
    told = [event["event"] for event in worker.events()]
    assert told.index("engine.loaded") < told.index("job.claimed")
    assert len((site.gates / "loads").read_text().splitlines()) == 2, "once in each process"
    eventually(lambda: json.loads(path.read_text())["state"] == "ready", "it is ready")


@pytest.mark.models
def test_the_worker_listens_before_torch_is_imported(site: Site, jobs: UserJobs) -> None:
    worker = site.start(
        engines="sdxl", model_sdxl="tiny", device="cpu", lease_seconds="10",
        PYTHONPROFILEIMPORTTIME="1", OMP_NUM_THREADS="1",
    )  # fmt: skip
    worker.wait_for("engine.loaded", seconds=60, engine="sdxl")
    imported = [n for n, line in enumerate(worker.lines) if line.rpartition("|")[2].strip().startswith("torch")]
    [connected] = [n for n, line in enumerate(worker.lines) if '"listener.connected"' in line]
    assert connected < min(imported)
    assert jobs.value("select count(*) from consumer.workers") == 1
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize("error", ["EngineUnusableError", "OutOfMemoryError", "ValueError"])
def test_a_load_that_fails_ends_the_process_with_nothing_claimed(site: Site, jobs: UserJobs, error: str) -> None:
    job = jobs.submit("job")
    worker = site.start(preload="puppet", PUPPET_LOAD_RAISES=error)
    assert worker.wait() == 3
    assert (jobs.get(job)["status"], jobs.get(job)["claim_id"]) == ("queued", None)
    [draining] = worker.events("worker.draining")
    assert draining["reason"].startswith(f"The engine puppet could not be loaded: {error}")
    assert jobs.value("select count(*) from consumer.workers") == 0


def test_a_load_that_hangs_ends_the_process(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("load"), jobs.submit("job")
    worker = site.start(preload="puppet", phase_seconds="load=0.3")
    gate.wait()
    assert worker.wait_for("engine.hung", engine="puppet", phase="load")["seconds"] == 0.3
    assert worker.wait() == 3
    assert jobs.get(job)["claim_id"] is None


def test_a_worker_that_is_told_to_leave_does_not_wait_for_a_load(site: Site, jobs: UserJobs) -> None:
    gate, job = site.gate("load"), jobs.submit("job")
    worker = site.start(preload="puppet", grace_seconds="600")
    gate.wait()
    worker.signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    assert jobs.get(job)["claim_id"] is None
    assert jobs.value("select count(*) from consumer.workers") == 0


def test_a_listener_that_never_connects_is_not_waited_for_for_ever(site: Site, jobs: UserJobs) -> None:
    job = jobs.submit("job")
    worker = site.start(preload="puppet", listen_url=NOWHERE)
    worker.wait_for("job.completed", job_id=job)
    assert worker.events("engine.loaded")
    assert not worker.events("listener.connected")


@pytest.mark.parametrize("option", ["--once", "--drain-and-exit"])
def test_a_worker_that_may_have_nothing_to_do_loads_nothing_beforehand(site: Site, jobs: UserJobs, option: str) -> None:
    assert site.start(option, preload="puppet").wait() == 0
    assert not (site.gates / "loads").exists()


@pytest.mark.parametrize("name", ["nobody", "sdxl", "puppet2"])
def test_an_engine_that_is_unknown_or_not_served_is_refused(site: Site, jobs: UserJobs, name: str) -> None:
    worker = site.start(preload=name)
    assert worker.wait() == 2
    assert worker.output == "CONSUMER_PRELOAD must be auto, none, or an engine that this worker serves: puppet.\n"


def test_auto_is_the_first_engine_that_has_a_model() -> None:
    engines: dict[str, Engine] = {entry.name: create(entry.name, "tiny", Options()) for entry in BUILT_IN}
    assert choose("auto", engines) == "sdxl"
    assert choose("auto", dict(reversed(engines.items()))) == "wan"
    assert choose("auto", {"sketch": engines["sketch"]}) is None
    assert choose("none", engines) is None
    assert choose("sketch", engines) == "sketch"
    with pytest.raises(UsageError, match="serves: sketch"):
        choose("sdxl", {"sketch": engines["sketch"]})
