"""What an UPDATE carries to a frontend that listens through Realtime, and what it leaves out."""

import json
from random import Random

import pytest

from decoding import Publication
from jobs import Hands, Jobs
from postgres import Database

READ = {
    "jobs": ["id", "status", "error_message", "metadata", "updated_at", "version"],
    "images": [
        "id", "job_id", "image_index", "user_id", "status", "progress", "image_url", "thumbnail_url", "seed",
        "file_size", "error_message", "metadata", "updated_at", "version",
    ],
}  # fmt: skip
"""What frontends read of a row."""

LONG = Random(7).randbytes(10_000).hex()
"""A text that Postgres stores apart from its row, even compressed."""


@pytest.mark.parametrize("table", ["jobs", "images", "videos"])
def test_a_table_of_ours_is_known_by_its_primary_key_which_is_enough(jobs: Jobs, table: str) -> None:
    statement = "select relreplident::text as identity from pg_class where oid = %s::regclass"
    assert jobs.value(statement, f"public.{table}") == "d"


def test_every_update_carries_all_that_a_frontend_reads(db: Database, jobs: Jobs, worker: Hands) -> None:
    with Publication(db) as publication:
        jobs.add(metadata={"prompt": "A harbour"})
        publication.read()
        job = worker.take()
        worker.progress(job, 50, {0: 50})
        worker.record(job)
        worker.complete(job)
        told = publication.read()
    assert [change.table for change in told] == ["jobs", "jobs", "images", "images", "jobs"]
    for change in told:
        assert set(READ[change.table]) <= set(change.row), change


def test_a_big_value_that_did_not_change_is_left_out_of_an_update(db: Database, jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add(original_prompt=LONG)
    image = jobs.images(job_id)[0]["id"]
    jobs.run("update public.images set metadata = jsonb_build_object('notes', %s::text) where id = %s", LONG, image)
    with Publication(db) as publication:
        job = worker.take()
        worker.progress(job, 50, {0: 50})
        claimed, shown, progress = publication.read()
        worker.record(job)
        [recorded] = publication.read()
    for change in (claimed, shown):
        assert "original_prompt" not in change.row
        assert set(READ["jobs"]) <= set(change.row)
    # What is missing did not change: a frontend keeps what it holds. All that is small is told every time.
    assert set(READ["images"]) - set(progress.row) == {"metadata"}
    assert (progress.row["status"], progress.row["progress"]) == ("processing", "50")
    # The result is written into it: so it changed, and is told whole.
    assert json.loads(recorded.row["metadata"] or "")["notes"] == LONG


def test_a_row_that_is_deleted_is_told_by_its_id_alone(db: Database, jobs: Jobs) -> None:
    image = jobs.images(jobs.add())[0]["id"]
    with Publication(db) as publication:
        jobs.run("delete from public.images where id = %s", image)
        [change] = publication.read()
    assert change.kind == "delete"
    assert {name: value for name, value in change.row.items() if value is not None} == {"id": str(image)}
