"""How many jobs a worker gets through when its engine does nothing: `python bench/drain.py [jobs] [workers ...]`.

Every job has one image row, is encoded, stored, recorded and completed under its fence. From the first engine's start
until the database shows all jobs completed.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

import stage

INSERT = """
insert into public.jobs (user_id, job_type, original_prompt)
select %s, 'noop', 'x' from generate_series(1, %s)
"""


def drain(running: stage.embedded.Server, name: str, jobs: int, workers: int) -> float:
    """Seconds for `workers` processes to drain `jobs` jobs."""
    dsn = stage.database(running, name)
    with psycopg.connect(dsn, autocommit=True) as connection, tempfile.TemporaryDirectory() as folder:
        connection.execute(INSERT, (stage.user(dsn), jobs))
        command = [sys.executable, str(Path(__file__).with_name("noop.py")), dsn, folder, "--drain"]
        started = []
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
        for process in processes:
            lines = process.communicate()[0].split("\n")[1:-1]
            started += [int(line.split()[1]) for line in lines]
        ended = time.monotonic_ns()
        row = connection.execute("select count(*) from public.jobs where status = 'completed'").fetchone()
        assert row
        assert row[0] == jobs
        assert len(started) == jobs
    return (ended - min(started)) / 1e9


def main() -> None:
    """Drain with one worker, two and four."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    counts = [int(arg) for arg in sys.argv[2:]] or [1, 2, 4]
    rows = []
    with stage.server() as running:
        for workers in counts:
            seconds = drain(running, f"drain_{workers}", jobs, workers)
            rows.append(
                {"workers": workers, "jobs": jobs, "seconds": round(seconds, 2), "jobs/s": round(jobs / seconds)}
            )
    stage.table(rows)


if __name__ == "__main__":
    main()
