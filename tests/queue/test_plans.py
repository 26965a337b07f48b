"""What the planner makes of sql/queries over large tables: the intended index, and no table read or sorted whole."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from consumer.database import SESSION
from consumer.job import MEASURED
from consumer.statements import SQL, query
from postgres import Databases

Node = dict[str, Any]
Connection = psycopg.Connection[Any]

NAMES = sorted(path.stem for path in (SQL / "queries").glob("*.sql"))
LARGE = {"jobs", "images", "videos"}

JOBS = """
insert into public.jobs (
  user_id, job_type, engine, status, start_tag, finish_tag, queue_at, available_at, worker_id, claim_id
)
select
  (array(select id from auth.users order by id))[1 + n %% 50],
  case n %% 2 when 0 then 'sketch' else 'sdxl_image_fast' end,
  case n %% 2 when 0 then 'sketch' else 'sdxl' end,
  %(status)s, at, at,
  case when %(state)s = 'in line' then at end,
  case when %(state)s = 'delayed' then now() + n * interval '1 second' end,
  case when %(state)s = 'processing' then md5((n %% 10)::text)::uuid end,
  case when %(state)s in ('processing', 'completed') then nextval('consumer.claim_ids') end
from generate_series(1, %(amount)s::integer) as n
cross join lateral (select now() - n * interval '1 second' as at) as times
"""

REST = """
insert into public.images (user_id, job_id, image_index, status, managed)
select user_id, id, place, status, true from public.jobs cross join generate_series(0, 1) as place;
insert into public.videos (user_id, job_id, image_index, status, managed)
select user_id, id, 0, status, true from public.jobs order by id limit 10000;
insert into consumer.workers (id, name, engines, lease_seconds)
select distinct worker_id, 'a worker', array['sketch'], 45 from public.jobs where worker_id is not null;
create table public.workspace_assets (id uuid, job_id uuid);
alter table public.workspace_assets owner to postgres;
analyze;
"""

AMOUNTS = {"in line": 20_000, "completed": 20_000, "delayed": 5_000, "processing": 40}


@pytest.fixture(scope="module")
def stocked(databases: Databases) -> Iterator[Connection]:
    """20,000 jobs in line for two engines, 20,000 finished, 5,000 delayed and 40 in hand, with their rows."""
    with databases.clone(databases.migrated) as db:
        for _ in range(50):
            db.user()
        with psycopg.connect(db.admin_dsn) as connection:
            connection.execute("set session_replication_role = replica")
            for state, amount in AMOUNTS.items():
                status = state if state in ("completed", "processing") else "queued"
                connection.execute(JOBS, {"state": state, "status": status, "amount": amount})
            connection.execute(REST)
        yield db.connect()


@pytest.fixture
def parameters(stocked: Connection) -> dict[str, Any]:
    """A value for every parameter that a statement may have: one job in hand, one worker, two engines."""
    rows = stocked.execute(
        "select id, claim_id, worker_id from public.jobs where status = 'processing' order by claim_id limit 1"
    ).fetchall()
    [(job_id, claim_id, worker_id)] = rows
    return {
        "job_id": job_id, "claim_id": claim_id, "worker_id": worker_id, "beats": 0, "max_attempts": 3, "count": 2,
        "engines": ["sdxl", "sketch", "wan"],
        "served": ["sdxl_image_fast", "sketch"],
        "job_types": ["sdxl_image_fast", "sdxl_image_high", "sketch", "image_fast"],
        "index": 1, "seed": 7, "url": "u", "thumbnail_url": "t", "format": "png", "file_size": 1000,
        "metadata": Jsonb({"width": 512}), "measured": MEASURED, "unmeasured": ["bucket"],
        "message": "m", "error": Jsonb({"type": "E"}),
        "prompt": "p", "enhancement": Jsonb({"result": "rewritten"}),
        "keys": ["k"] * 1000, "job_ids": [uuid4() for _ in range(1000)],
        "users": None, "unlocked": True, "priority_seconds": 60.0,
        "claim_ids": [1] * 8, "counts": [1] * 8, "indexes": [0] * 8, "seeds": [7] * 8, "urls": ["u"] * 8,
        "thumbnail_urls": ["t"] * 8, "formats": ["png"] * 8, "file_sizes": [1000] * 8, "metadatas": [Jsonb({})] * 8,
        "delay": 60.0, "give_back": False, "progress": 50,
        "steps": Jsonb([{"index": 0, "progress": 50}, {"index": 1, "progress": 0}]),
        "user_id": UUID(int=0), "created_at": "-infinity", "id": UUID(int=0), "limit": 100,
        "before": datetime.now(UTC) - timedelta(hours=1), "statuses": ["completed", "failed"],
    }  # fmt: skip


def custom(connection: Connection, name: str, parameters: dict[str, Any]) -> list[Node]:
    """The nodes of the plan for these values."""
    [(found,)] = connection.execute("explain (format json) " + query(name), parameters).fetchall()
    return list(nodes(found[0]["Plan"]))


def generic(connection: Connection, name: str, limit: int = 1) -> list[Node]:
    """The nodes of the plan for any values, which the connections of a worker keep."""
    numbers: dict[str, int] = {}
    text = re.sub(
        r"%(?:\((\w+)\))?[sb]",
        lambda m: f"${numbers.setdefault(m[1] or str(len(numbers)), len(numbers) + 1)}",
        query(name, limit),
    )
    connection.execute(SESSION)
    connection.execute(f"prepare it as {text}")
    values = f"({', '.join(['null'] * len(numbers))})" if numbers else ""
    [(found,)] = connection.execute(f"explain (format json) execute it{values}").fetchall()
    connection.execute("deallocate it")
    connection.execute("reset plan_cache_mode")
    connection.execute("reset enable_seqscan")
    return list(nodes(found[0]["Plan"]))


def nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def indexes(plan: list[Node]) -> set[str]:
    return {node["Index Name"] for node in plan if "Index Name" in node}


def read_whole(plan: list[Node]) -> set[str]:
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} & LARGE


def walked_whole(plan: list[Node]) -> set[str]:
    """The indexes of large tables of which each entry is looked at."""
    walked = {node["Index Name"] for node in plan if "Index Name" in node and "Index Cond" not in node}
    return {name for name in walked if name.startswith(tuple(LARGE))}


def sorted_whole(plan: list[Node]) -> list[Node]:
    sorts = [node for node in plan if "Sort" in node["Node Type"]]
    return [sort for sort in sorts if any(node.get("Relation Name") == "jobs" for node in inputs(sort))]


def inputs(plan: Node) -> Iterator[Node]:
    """What flows into a node; common table expressions hang on it and do not."""
    for child in plan.get("Plans", ()):
        if child["Parent Relationship"] != "InitPlan":
            yield child
            yield from inputs(child)


FEW = {"record_images", "hold_ended_jobs", "hold_rows", "delete_jobs"}
"""These come with so many jobs as go in one transaction."""

IMAGES, VIDEOS = "images_job_id_image_index_key", "videos_job_id_image_index_key"

INTENDED = {
    "claim_jobs": {"jobs_line_idx", "jobs_pkey"},
    "complete_job": {"jobs_pkey", IMAGES, VIDEOS},
    "record_images": {"jobs_pkey", IMAGES},
    "fail_job": {"jobs_pkey", IMAGES, VIDEOS},
    "retry_job": {"jobs_pkey", IMAGES, VIDEOS},
    "release_job": {"jobs_pkey", IMAGES, VIDEOS},
    "read_status": {"jobs_pkey"},
    "rescue_jobs": {"jobs_worker_idx", IMAGES, VIDEOS},
    "watch_workers": {"jobs_worker_idx"},
    "held_jobs": {"jobs_worker_idx"},
    "promote_due": {"jobs_due_idx", "jobs_pkey"},
    "prepare_images": {"jobs_pkey", IMAGES},
    "prepare_videos": {"jobs_pkey", VIDEOS},
    "pending_images": {IMAGES},
    "pending_videos": {VIDEOS},
    "record_image": {"jobs_pkey", IMAGES},
    "record_video": {"jobs_pkey", VIDEOS},
    "record_progress": {"jobs_pkey", IMAGES, VIDEOS},
    "store_prompt": {"jobs_pkey"},
    "own_objects": {"jobs_pkey", IMAGES, VIDEOS},
    "walk_jobs": {"jobs_user_id_created_at_idx"},
    "hold_ended_jobs": {"jobs_pkey"},
    "hold_rows": {IMAGES, VIDEOS},
    "delete_jobs": {"jobs_pkey", IMAGES, VIDEOS},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_is_understood_by_the_database(stocked, name):
    assert generic(stocked, name)


@pytest.mark.parametrize("kind", ["custom", "generic"])
@pytest.mark.parametrize("name", INTENDED)
def test_a_statement_finds_its_rows_by_the_intended_index(stocked, parameters, name, kind):
    if name in FEW:
        parameters["job_ids"] = parameters["job_ids"][:8]
    plan = custom(stocked, name, parameters) if kind == "custom" else generic(stocked, name)
    assert indexes(plan) >= INTENDED[name]
    assert not read_whole(plan)


@pytest.mark.parametrize("kind", ["custom", "generic"])
@pytest.mark.parametrize("name", ["claim_jobs", "promote_due"])
def test_the_backlog_is_not_sorted(stocked, parameters, name, kind):
    plan = custom(stocked, name, parameters) if kind == "custom" else generic(stocked, name)
    assert not sorted_whole(plan)


@pytest.mark.parametrize("job_types", [["image_fast"], ["sdxl_image_high"], []], ids=str)
def test_a_claim_walks_along_its_index_however_rare_the_job_types_seem(stocked, parameters, job_types):
    plan = custom(stocked, "claim_jobs", parameters | {"job_types": job_types})
    assert indexes(plan) >= INTENDED["claim_jobs"]
    assert not sorted_whole(plan)


def test_a_claim_of_many_jobs_walks_along_its_index(stocked):
    plan = generic(stocked, "claim_jobs", 100)
    assert indexes(plan) >= INTENDED["claim_jobs"]
    assert not sorted_whole(plan)


@pytest.fixture(scope="module", params=["never vacuumed", "vacuumed"])
def empty(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Connection]:
    """A database without jobs, from which plans may be kept that serve when there are many."""
    with databases.clone(databases.migrated) as db:
        with psycopg.connect(db.admin_dsn, autocommit=True) as connection:
            connection.execute("create table public.workspace_assets (id uuid, job_id uuid)")
            connection.execute("alter table public.workspace_assets owner to postgres")
            if request.param == "vacuumed":
                connection.execute("vacuum analyze public.jobs, public.images, public.videos")
        yield db.connect()


@pytest.mark.parametrize("name", INTENDED)
def test_a_plan_from_before_the_first_job_reads_no_table_whole(empty, name):
    assert not read_whole(generic(empty, name))


@pytest.mark.parametrize(("name", "limit"), [("claim_jobs", 1), ("claim_jobs", 256), ("record_images", 1)])
def test_nor_does_it_walk_along_a_whole_index_for_each_of_many_jobs(empty, name, limit):
    """A table that is empty and was analyzed looks as if that cost nothing."""
    assert not walked_whole(generic(empty, name, limit))


def test_a_claim_touches_a_handful_of_pages(stocked, parameters):
    with stocked.transaction(force_rollback=True):
        stocked.execute(SESSION.replace("false", "true"))
        statement = "explain (analyze, buffers, format json) " + query("claim_jobs")
        # The first one reads the catalog, too, for the functions that it calls.
        stocked.execute(statement, parameters)
        [(found,)] = stocked.execute(statement, parameters).fetchall()
    top = found[0]["Plan"]
    assert top["Actual Rows"] == 1
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 200
