"""How soon an idle worker starts on a job: `python bench/pickup.py [jobs]`.

From just before the COMMIT of the INSERT until the engine starts, one job at a time, each after the last one's end.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

import stage

INSERT = (
    "insert into public.jobs (user_id, job_type, original_prompt, metadata) values (%s, 'noop', 'x', %s) returning id"
)


def main() -> None:
    """Insert, wait for the engine, wait for the row, and again."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with stage.server() as running, tempfile.TemporaryDirectory() as folder:
        dsn = stage.database(running, "pickup")
        user = stage.user(dsn)
        command = [sys.executable, str(Path(__file__).with_name("noop.py")), dsn, folder]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
        samples = []
        with psycopg.connect(dsn) as connection, psycopg.connect(dsn, autocommit=True) as reader:
            for seed in range(jobs + 20):
                wait_for(reader, "select count(*) = 1 from consumer.workers where idle_since is not null")
                time.sleep(0.02)
                row = connection.execute(INSERT, (user, Jsonb({"seed": seed}))).fetchone()
                assert row
                committing = time.monotonic_ns()
                connection.commit()
                said, started = worker.stdout.readline().split()
                assert int(said) == seed
                if seed >= 20:
                    samples.append((int(started) - committing) / 1e9)
                wait_for(reader, f"select status = 'completed' from public.jobs where id = '{row[0]}'")
        worker.terminate()
        worker.wait()
    stage.table([{"jobs": jobs, **stage.milliseconds(samples)}])


def wait_for(reader: psycopg.Connection, question: str) -> None:
    """Ask until the answer is yes."""
    while not (row := reader.execute(question.encode()).fetchone()) or not row[0]:
        time.sleep(0.002)


if __name__ == "__main__":
    main()
