"""Worker processes in tests: started, listened to, stopped at points, killed; and the files they leave.

A `Site` is one database, one storage folder and the workers on them. A worker's log lines are its events, and a
test waits for them. The engine `puppet` (tests/worker/plugin) stops where a test holds a `Gate`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image

from consumer import job_types, migrate

PLUGIN = Path(__file__).parent / "worker" / "plugin"
JOB_TYPES = PLUGIN / "job_types.toml"
PATIENCE = 20.0
LEASE = 2.0
OURS = ("CONSUMER_", "SUPABASE_", "DATABASE_", "PUPPET_", "PYTHONPATH")

Row = dict[str, Any]


def eventually(found: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer of `found`, which is asked until then; fails the test when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"in {seconds} seconds this did not happen: {what}")


class Gate:
    """A point where the engine stops, once, until it is released."""

    def __init__(self, directory: Path, point: str) -> None:
        self.point = point
        self._path = directory / point
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(1)
        self._visitor: socket.socket | None = None

    def wait(self, seconds: float = PATIENCE) -> None:
        """Return when an engine stands here."""
        self._listener.settimeout(seconds)
        try:
            self._visitor, _ = self._listener.accept()
        except TimeoutError:
            raise AssertionError(f"in {seconds} seconds no engine came to {self.point}") from None
        self._path.unlink()
        self._listener.close()

    def release(self) -> None:
        """Let the engine go on, and keep no other."""
        self._path.unlink(missing_ok=True)
        self._listener.close()
        if self._visitor:
            self._visitor.close()


class Worker:
    """One worker process, and what it says."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=directory, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def id(self) -> UUID:
        """What the rows call it."""
        return UUID(self.wait_for("worker.started")["worker_id"])

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def events(self, name: str | None = None, **fields: Any) -> list[Row]:
        """The events so far with this name and these fields."""
        found = [json.loads(line) for line in self.lines if line.startswith("{")]
        wanted = {name: str(value) if isinstance(value, UUID) else value for name, value in fields.items()}
        if name is not None:
            wanted["event"] = name
        return [event for event in found if wanted.items() <= event.items()]

    def wait_for(self, name: str, count: int = 1, seconds: float = PATIENCE, **fields: Any) -> Row:
        """The event, the `count`th one of its kind; fails the test when it does not come, or the process ends."""
        deadline = time.monotonic() + seconds
        with self._news:
            while len(found := self.events(name, **fields)) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"in {seconds} seconds there was no {name} {fields}:\n{self.output}"
                assert not self._ended, f"the worker ended without {name} {fields}:\n{self.output}"
                self._news.wait(left)
        return found[count - 1]

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, waited for, with all output read."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end in {seconds} seconds:\n{self.output}") from None
        self._reader.join()
        return code

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash of the machine would."""
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def close(self) -> None:
        self.process.kill()
        self.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Site:
    """One database with the puppet's job type, one storage folder, and the workers on them."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.directory = directory
        self.storage = directory / "storage"
        # The path of a socket is short.
        self.gates = Path(tempfile.mkdtemp(prefix="gates-"))
        # While this file is there, jobs with the field `endless` take step after step.
        self.endless = self.gates / "endless"
        self.workers: list[Worker] = []
        self._held: list[Gate] = []
        migrate.push_job_types(dsn, job_types.load(JOB_TYPES).values())

    def start(self, *args: str, **environment: str) -> Worker:
        """Start `consumer run`; small letters in `environment` are settings, capitals are variables."""
        settings = {
            "lease_seconds": str(LEASE), "sweep_seconds": "3600", "grace_seconds": "20", "log": "json",
            "job_types": str(JOB_TYPES), "storage_dir": str(self.storage), "storage": "local", "engines": "puppet",
        }  # fmt: skip
        variables = {"DATABASE_URL": self.dsn, "PYTHONPATH": str(PLUGIN), "PUPPET_DIR": str(self.gates)}
        for name, value in {**settings, **environment}.items():
            variables[name if name.isupper() else f"CONSUMER_{name.upper()}"] = value
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        worker = Worker(["-m", "consumer", "run", *args], inherited | variables, self.directory)
        self.workers.append(worker)
        return worker

    def start_idle(self, *args: str, **environment: str) -> Worker:
        """Start a worker, and wait until it listens."""
        worker = self.start(*args, **environment)
        worker.wait_for("listener.connected")
        worker.wait_for("worker.started")
        return worker

    def gate(self, point: str) -> Gate:
        """Make the next engine that comes to `point` stop there."""
        self._held.append(Gate(self.gates, point))
        return self._held[-1]

    def drawn(self, name: str | None = None) -> list[Row]:
        """What the puppets of this site drew, in order: pid, job (its prompt), index, seed."""
        path = self.gates / "drawn"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if name in (None, line["job"])]

    def file(self, path: str) -> Path:
        """Where the storage keeps a path of the bucket."""
        return self.storage / "workspace-temp" / path

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        for gate in self._held:
            gate.release()
        shutil.rmtree(self.gates)


def check_picture(site: Site, image: Row) -> None:
    """The row is that of a finished picture, its file has the size that the row says, and the seed's colour."""
    assert image["status"] == "completed"
    measured = image["metadata"]
    path = site.file(image["image_url"])
    assert path.stat().st_size == image["file_size"] == measured["file_size_bytes"]
    with Image.open(path) as picture:
        assert picture.size == (measured["width"], measured["height"]) == (8, 8)
        colours = np.asarray(picture).reshape(-1, 3)
    assert {int.from_bytes(colour.tobytes(), "big") for colour in colours} == {image["seed"]}
