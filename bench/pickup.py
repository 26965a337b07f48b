"""How soon an idle worker starts on a job: `python bench/pickup.py [jobs]`.

One job at a time, each after the last one's end, from just before and from just after the COMMIT of the INSERT, until
the engine starts; and beside it, in turn, until a bare loop (bench/bare.py) has its row.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

import bare
import stage

INSERT = (
    "insert into public.jobs (user_id, job_type, original_prompt, metadata) values (%s, 'noop', 'x', %s) returning id"
)
WARM_UP = 20
PAUSE_SECONDS = 0.02

Sample = tuple[float, float]
"""Seconds since before and since after the commit."""


def main() -> None:
    """A job for ours, a row for the bare loop, and again."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    ours: list[Sample] = []
    floor: list[Sample] = []
    with stage.server() as running, tempfile.TemporaryDirectory() as folder:
        dsn = stage.database(running, "pickup")
        user = stage.user(dsn)
        with (
            psycopg.connect(dsn) as connection,
            psycopg.connect(dsn, autocommit=True) as reader,
        ):
            reader.execute(bare.SETUP.encode())
            with program("noop.py", dsn, folder) as worker, program("bare.py", dsn) as loop:
                for number in range(jobs + WARM_UP):
                    wait_for(reader, "select count(*) = 1 from consumer.workers where idle_since is not null")
                    time.sleep(PAUSE_SECONDS)
                    [job] = connection.execute(INSERT, (user, Jsonb({"seed": number}))).fetchone() or ()
                    ours.append(sample(connection, worker, number))
                    wait_for(reader, f"select status = 'completed' from public.jobs where id = '{job}'")
                    time.sleep(PAUSE_SECONDS)
                    connection.execute("insert into bare values (%s)", (number,))
                    connection.execute("notify bare")
                    floor.append(sample(connection, loop, number))
    stage.table(list(rows(("consumer", ours), ("a bare loop", floor))))


@contextmanager
def program(name: str, *arguments: str) -> Iterator[Callable[[], str]]:
    """A program beside this one, once it is ready; gives what reads its next line."""
    command = [sys.executable, str(Path(__file__).with_name(name)), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process.stdout.readline
        finally:
            process.terminate()


def sample(connection: psycopg.Connection, line: Callable[[], str], number: int) -> Sample:
    """Commit, and wait for the word that `number` was started."""
    committing = time.monotonic_ns()
    connection.commit()
    committed = time.monotonic_ns()
    said, started = line().split()
    assert int(said) == number
    return (int(started) - committing) / 1e9, (int(started) - committed) / 1e9


def rows(*measured: tuple[str, list[Sample]]) -> Iterator[dict[str, Any]]:
    """A row for each and each way of counting."""
    for place, since in enumerate(("before the commit", "after the commit")):
        for name, samples in measured:
            yield {"who": name, "since": since, **stage.milliseconds([sample[place] for sample in samples[WARM_UP:]])}


def wait_for(reader: psycopg.Connection, question: str) -> None:
    """Ask until the answer is yes."""
    while not (row := reader.execute(question.encode()).fetchone()) or not row[0]:
        time.sleep(0.002)


if __name__ == "__main__":
    main()
