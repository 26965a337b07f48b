"""What a worker costs that has nothing to do: `python bench/idle.py [seconds]`.

A `consumer run` with the sketch engine, a file for its health and every other setting as it comes, from the moment at
which it says that it is idle: its statements by kind, as the server logs them, its processor time, and how often its
event loop woke.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

import psutil
import psycopg

import stage
from consumer import job_types, migrate
from consumer.statements import SQL, query
from pickup import wait_for

LOGGED = {"log_statement": "all", "log_line_prefix": "%d "}
MARK = " LOG:  "
OPENINGS = {query(path.stem).splitlines()[0]: path.stem for path in (SQL / "queries").glob("*.sql")}


def start(dsn: str, folder: str) -> subprocess.Popen[bytes]:
    """A worker with its defaults."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CONSUMER_", "SUPABASE_"))}
    settings = {"STORAGE": "local", "STORAGE_DIR": folder, "ENGINES": "sketch", "HEALTH_FILE": f"{folder}/health"}
    environment = inherited | {"DATABASE_URL": dsn} | {f"CONSUMER_{name}": value for name, value in settings.items()}
    return subprocess.Popen([sys.executable, "-m", "consumer", "run"], env=environment, stderr=subprocess.DEVNULL)


def kinds(lines: Sequence[str]) -> Counter[str]:
    """How often each statement was sent by the worker: the name of its file in sql/queries, or its beginning."""
    found: Counter[str] = Counter()
    for line in lines:
        if line.startswith(f"idle{MARK}"):
            statement = line.split(MARK, 1)[1].split(": ", 1)[1]
            found[OPENINGS.get(statement, statement[:40])] += 1
    return found


def main() -> None:
    """Let a worker be idle for so long, and print what that took."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with stage.embedded.start(settings=LOGGED) as running, tempfile.TemporaryDirectory() as folder:
        dsn = stage.database(running, "idle")
        migrate.push_job_types(dsn, job_types.load().values())
        log = running.directory / "log"
        worker = start(dsn, folder)
        process = psutil.Process(worker.pid)
        with psycopg.connect(dsn, autocommit=True) as reader:
            wait_for(reader, "select count(*) = 1 from consumer.workers where idle_since is not null")
        before, said = (process.cpu_times(), process.num_ctx_switches()), log.stat().st_size
        time.sleep(seconds)
        after, lines = (process.cpu_times(), process.num_ctx_switches()), log.read_bytes()[said:].decode().splitlines()
        worker.terminate()
        worker.wait()
    sent = kinds(lines)
    taken = {
        **sent,
        "all statements": sent.total(),
        "wake-ups of the event loop": after[1].voluntary - before[1].voluntary,
        "ms of one processor": round(1000 * (sum(after[0][:2]) - sum(before[0][:2]))),
    }
    stage.table(
        [{"what": what, "times": times, "per second": round(times / seconds, 2)} for what, times in taken.items()]
    )


if __name__ == "__main__":
    main()
