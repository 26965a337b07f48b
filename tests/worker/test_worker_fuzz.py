"""One worker, and jobs that nobody should send: each ends with pictures or with a sentence, and the worker lives."""

import os
import re
from collections import Counter
from pathlib import Path

import psycopg
from hypothesis import given, settings
from PIL import Image

from consumer import job_types
from odd_input import HARBOUR, MINE, THEIRS, Body, bodies, column_types, send, tried
from user_jobs import UserJobs
from workers import Site

KNOWN = job_types.load()
INTERNAL = "An internal error stopped this job."
SENTENCE = re.compile(r"[A-Za-z_]+ [^\n]{1,300}\.")


def tiny(path: Path) -> str:
    """A file of the built-in job types that takes next to no time to draw, where a request says nothing else."""
    small = "{ steps = 1, width = 64, height = 64, num_frames = 5 }"
    path.write_text("".join(f"[{name}]\ndefaults = {small}\n" for name in KNOWN))
    return str(path)


def files(site: Site) -> set[str]:
    """Every file below the site's folder, the paths relative to the bucket."""
    return {os.path.relpath(path, site.file("")) for path in site.directory.rglob("*") if path.is_file()}


def check_ends(jobs: UserJobs) -> dict[str, str]:
    """Every job of ours is completed, or failed with a sentence, and its rows with it; the status by the folder."""
    rows = jobs.run("select id, user_id, status, error_message from public.jobs where engine is not null")
    told = {row["error_message"] for row in rows if row["status"] == "failed"}
    counts = Counter(row["status"] for row in rows)
    assert counts.keys() == {"completed", "failed"}
    assert min(counts.values()) > 20
    assert len(told) > 5
    for sentence in told:
        assert SENTENCE.fullmatch(sentence), sentence
        assert HARBOUR not in sentence
        assert sentence != INTERNAL
    for table in ("images", "videos"):
        other = (
            f"select count(*) from public.{table} a join public.jobs j on j.id = a.job_id where a.status <> j.status"
        )
        assert jobs.value(other) == 0
    return {f"{row['user_id']}/{row['id']}": row["status"] for row in rows}


def test_a_worker_survives_whatever_is_sent(site: Site, jobs: UserJobs, tmp_path: Path) -> None:
    them, types = jobs.db.user(), column_types(jobs)
    jobs.insert("images", {"id": MINE, "user_id": jobs.user, "prompt": ""})
    jobs.insert("images", {"id": THEIRS, "user_id": them, "prompt": ""})
    for owner in (jobs.user, them):
        fox = site.file(f"{owner}/fox.png")
        fox.parent.mkdir(parents=True)
        Image.new("RGB", (64, 64), "teal").save(fox)
    types_file = tiny(tmp_path / "job_types.toml")
    before = files(site)

    @tried
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(bodies(types, KNOWN))
    def insert(body: Body) -> None:
        try:
            send(jobs.db, jobs.user, them, body, types)
        except psycopg.Error:
            return

    insert()
    # Each job has one attempt, for after a failure it would wait for the next.
    worker = site.start("--drain-and-exit", engines="sketch", job_types=types_file, max_attempts="1")
    assert worker.wait(60) == 0, worker.output
    assert HARBOUR not in worker.output
    ended = check_ends(jobs)
    seen = "select j.id from public.jobs j, jsonb_each_text(j.metadata) as sent where j.status = 'completed'"
    assert jobs.run(f"{seen} and sent.key ~ 'reference_.*url|frame$' and sent.value ~ %s", str(them)) == []
    for path in files(site) - before:
        folder, name = path.rsplit("/", 1)
        assert ended[folder] == "completed", path
        assert re.fullmatch(r"\d+\.(png|mp4|thumb\.webp)", name), path
