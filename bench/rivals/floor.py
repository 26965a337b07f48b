"""What the server could do at most: our own statements alone, by pgbench, without a worker.

Each transaction of pgbench claims, and then records the asset and completes; a commit after each of the two statements.
One by one it takes what the claim answered; in batches the second works on what this client's worker_id holds.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from statistics import median
from typing import Any

import psycopg

from consumer.job import MEASURED
from consumer.statements import query
from rivals.contestants import CONSUMER
from rivals.database import Hall
from rivals.drain import lsn
from rivals.machine import Meter
from rivals.worker import environment

AS_A_WORKER = {"PGOPTIONS": "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"}
WORKER = "lpad(to_hex(:client_id::integer + 1), 32, '0')"
HELD = f"from public.jobs h where h.worker_id = {WORKER}::uuid and h.status = 'processing'"
METADATA = """
jsonb_build_object('width', 64, 'height', 64, 'format', 'png', 'batch_size', 1, 'steps', 1, 'guidance_scale', 1.0,
  'seed', 1, 'file_size_bytes', 1, 'mime_type', 'image/png', 'asset_index', 0)
"""

CLAIM = {
    "worker_id": WORKER,
    "job_types": "array['noop']",
    "served": "array['noop']",
    "priority_seconds": "60",
}
REPEATED = {"measured": f"array{MEASURED}", "unmeasured": "array[]::text[]"}


def each(job_id: str, claim_id: str, user_id: str) -> dict[str, str]:
    """The parameters of record_images by name, each as an SQL expression of one element."""
    return {
        "job_ids": job_id,
        "claim_ids": claim_id,
        "indexes": "0",
        "seeds": "1::bigint",
        "urls": f"{user_id} || '/' || {job_id} || '/0.png'",
        "thumbnail_urls": f"{user_id} || '/' || {job_id} || '/0.thumb.webp'",
        "formats": "'png'",
        "file_sizes": "1::bigint",
        "metadatas": METADATA,
        "counts": "1",
    }


ONE = {name: f"array[{element}]" for name, element in each(":id::uuid", ":claim_id", ":user_id::text").items()}
MANY = {
    name: f"array(select {element} {HELD} order by h.id)"
    for name, element in each("h.id", "h.claim_id", "h.user_id").items()
}


def filled(text: str, expressions: Mapping[str, str]) -> str:
    """A statement with an SQL expression in the place of each parameter."""
    found = re.sub(r"%\((\w+)\)[sb]", lambda parameter: f"({expressions[parameter[1]]})", text)
    return re.sub(r"--[^\n]*", "", found).replace("%%", "%").strip()


def script(batch: int) -> str:
    """A pgbench script that works off `batch` jobs."""
    claim = filled(query("claim_jobs", batch), CLAIM)
    record = filled(query("record_images"), (ONE if batch == 1 else MANY) | REPEATED)
    return f"{claim} \\gset\n{record};\n" if batch == 1 else f"{claim};\n{record};\n"


def run(hall: Hall, batch: int, clients: int, jobs: int) -> dict[str, float]:
    """One run of pgbench on a fresh database: jobs per second, and what one job cost."""
    with (
        # Some more than are claimed, so that nobody finds nothing.
        hall.copy(CONSUMER, jobs + clients * batch * 2) as database,
        psycopg.connect(hall.server.dsn(database), autocommit=True) as reader,
        tempfile.NamedTemporaryFile("w", suffix=".sql") as file,
    ):
        file.write(script(batch))
        file.flush()
        turns = max(1, jobs // batch // clients)
        options = ["-n", "-M", "prepared", "-c", str(clients), "-j", str(min(2, clients)), "-t", str(turns)]
        program = hall.server.bin("pgbench")
        wal, meter = lsn(reader), Meter(0, hall.server.pid)
        done = subprocess.run(
            [program, *options, "-f", file.name, hall.server.dsn(database)],
            capture_output=True, text=True, env=environment() | AS_A_WORKER, check=False,
        )  # fmt: skip
        meter.stop()
        rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 or rate is None:
            raise RuntimeError(f"pgbench failed:\n{done.stderr[-2000:]}")
        row = reader.execute("select count(*) from public.jobs where status = 'completed'").fetchone()
        assert row
        completed = float(row[0])
        seconds = turns * clients / float(rate[1])
        return {
            "rate": completed / seconds,
            "server": meter.server / completed * 1000,
            "wal": (lsn(reader) - wal) / completed,
        }


def table(hall: Hall, jobs: int, rounds: int) -> list[dict[str, Any]]:
    """One by one and in batches, by one client and by ten, in turn."""
    cases = [(1, 1), (1, 10), (50, 1), (50, 10), (100, 10)]
    found: dict[tuple[int, int], list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            found[case].append(run(hall, *case, jobs))
    return [
        {
            "statements": "one by one" if batch == 1 else f"in batches of {batch}",
            "clients": clients,
            "jobs/s": f"{median(run['rate'] for run in runs):,.0f}",
            "range": f"{min(run['rate'] for run in runs):,.0f}-{max(run['rate'] for run in runs):,.0f}",
            "server CPU ms/job": f"{median(run['server'] for run in runs):.3f}",
            "WAL B/job": f"{median(run['wal'] for run in runs):,.0f}",
        }
        for (batch, clients), runs in found.items()
    ]
