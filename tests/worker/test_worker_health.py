"""What `consumer health` says of a worker, and when it says that all is well."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import Database
from proxy import Proxy
from user_jobs import UserJobs
from workers import OURS, Site, eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "health"


@pytest.fixture
def proxy(db: Database) -> Iterator[Proxy]:
    proxy = Proxy(db.dsn)
    yield proxy
    proxy.close()


def health(path: Path | str) -> tuple[int, str]:
    """The command's exit code, and its one line."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "health"], env=inherited | {"CONSUMER_HEALTH_FILE": str(path)},
        capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip
    [line] = (done.stdout + done.stderr).splitlines()
    return done.returncode, line


def test_a_worker_at_work_is_healthy_and_leaves_nothing_behind(site: Site, jobs: UserJobs, path: Path) -> None:
    gate = site.gate("job.0.middle")
    worker = site.start_idle(health_file=str(path))
    worker.wait_for("listener.hears")
    jobs.wait_for_idle()
    jobs.wait_for_beats(1)
    jobs.submit("job")
    gate.wait()
    told = eventually(lambda: (now := json.loads(path.read_text()))["jobs_in_hand"] == 1 and now, "it tells of the job")
    assert told["worker_id"] == str(worker.id)
    assert (told["pid"], told["state"], told["deaf"], told["found_by"]) == (worker.pid, "ready", 0, {"notify": 1})
    assert health(path) == (
        0,
        "The worker is ready: database connected, listener hears, storage there, 1 jobs in hand.",
    )
    worker.signal(signal.SIGTERM)
    eventually(lambda: json.loads(path.read_text())["state"] == "draining", "it tells that it leaves")
    code, line = health(path)
    assert code == 0
    assert line.startswith("The worker is draining: ")
    gate.release()
    assert worker.wait() == 0
    assert list(path.parent.glob("health*")) == []
    assert health(path) == (1, "No worker writes the file of CONSUMER_HEALTH_FILE.")


def test_a_database_that_is_away_makes_no_worker_unhealthy(
    site: Site, jobs: UserJobs, proxy: Proxy, path: Path
) -> None:
    worker = site.start_idle(health_file=str(path), DATABASE_URL=proxy.dsn)
    proxy.refuse("57P03", "the database system is shutting down")
    worker.wait_for("heartbeat.missed", count=5)
    code, line = health(path)
    assert code == 0
    assert line.startswith("The worker is ready: database away, listener ")
    proxy.heal()
    eventually(lambda: json.loads(path.read_text())["database"] == "connected", "it is there again")


def test_a_worker_that_stands_still_is_unhealthy(site: Site, path: Path) -> None:
    worker = site.start_idle(health_file=str(path))
    eventually(lambda: health(path)[0] == 0, "it is ready")
    worker.signal(signal.SIGSTOP)
    eventually(lambda: health(path)[0] == 1, "it told nothing for a lease")
    assert health(path)[1].startswith("The worker is stuck or gone: it wrote its last report ")
    worker.signal(signal.SIGCONT)
    eventually(lambda: health(path)[0] == 0, "it goes on")


def test_a_worker_that_is_held_up_at_its_start_is_not_ready(site: Site, jobs: UserJobs, path: Path) -> None:
    with jobs.locked("lock table consumer.workers in access exclusive mode"):
        site.start(health_file=str(path))
        eventually(path.exists, "it tells how it is")
        code, line = health(path)
        assert code == 1
        assert line.startswith("The worker is starting: ")
    eventually(lambda: health(path)[0] == 0, "it is ready")


@pytest.mark.parametrize("content", ["", "{}", "[]", "\0", '{"state": "ready"}'])
def test_a_file_of_something_else_is_told(path: Path, content: str) -> None:
    path.write_text(content)
    assert health(path) == (1, "The file of CONSUMER_HEALTH_FILE is not a worker's.")


def test_a_setting_that_is_missing_or_leads_nowhere_is_told(site: Site, tmp_path: Path) -> None:
    code, line = health("")
    assert code == 2
    assert line.startswith("CONSUMER_HEALTH_FILE is not set")
    worker = site.start(health_file=str(tmp_path / "none" / "health"))
    assert worker.wait() == 2
    assert worker.output == "The file of CONSUMER_HEALTH_FILE cannot be written: No such file or directory.\n"
