"""0022: the tables of a queue keep themselves in order, and what is written all the time costs no index an entry."""

from typing import Any

import psycopg
from psycopg.rows import dict_row, scalar_row
from psycopg.types.json import Jsonb

from consumer import migrate
from consumer.statements import query
from jobs import Jobs
from postgres import Database, Databases
from stages import Stage

TABLES = ["public.jobs", "public.images", "public.videos", "consumer.workers", "consumer.clocks"]

OPTIONS = """
select c.oid::regclass::text as name, o.option_name, o.option_value
from pg_class c, pg_options_to_table(c.reloptions) as o where c.oid = any (%s::regclass[])
"""


def options(db: Database) -> dict[str, dict[str, str]]:
    """What is set on each of the tables."""
    found: dict[str, dict[str, str]] = {name: {} for name in TABLES}
    for name, option, value in db.connect().execute(OPTIONS, (TABLES,)):
        found[name if "." in name else f"public.{name}"][option] = value
    return found


def remembered(db: Database) -> int:
    [(count,)] = db.connect().execute("select count(*) from consumer.created where object like 'option %'").fetchall()
    return int(count)


def test_every_table_that_changes_all_the_time_is_vacuumed_early(db: Database) -> None:
    found = options(db)
    for name, of_table in found.items():
        assert float(of_table["autovacuum_vacuum_scale_factor"]) <= 0.02, name
        assert int(of_table["fillfactor"]) <= 90, name
    for name in TABLES[:3]:
        assert float(found[name]["autovacuum_analyze_scale_factor"]) <= 0.02
        assert "autovacuum_vacuum_insert_scale_factor" in found[name]
    for name in TABLES[3:]:
        assert int(found[name]["autovacuum_vacuum_threshold"]) <= 200
    assert remembered(db) == sum(map(len, found.values()))


def test_what_the_application_set_stays_and_only_ours_is_reset(stages: dict[str, Stage], databases: Databases) -> None:
    with databases.clone(stages["0022"].before.name) as db:
        own = {"fillfactor": "70", "autovacuum_enabled": "true"}
        db.connect().execute("alter table public.jobs set (fillfactor = 70, autovacuum_enabled = true)")
        before = options(db)
        assert before == {name: own if name == "public.jobs" else {} for name in TABLES}
        migrate.upgrade(db.dsn, "0022")
        after = options(db)
        assert own.items() <= after["public.jobs"].items()
        assert after["public.jobs"].keys() - own.keys() == after["public.images"].keys() - own.keys()
        db.connect().execute("alter table public.images set (autovacuum_vacuum_threshold = 7)")
        migrate.downgrade(db.dsn, "0021")
        assert options(db) == {**before, "public.images": {"autovacuum_vacuum_threshold": "7"}}
        assert remembered(db) == 0


JOBS, PASSES = 50, 10

HOT = """
select relname, n_tup_upd as changed, n_tup_hot_upd as hot from pg_stat_user_tables where relid = any (%s::regclass[])
"""


def hot(connection: psycopg.Connection[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """How many rows of each table were changed so far, and how many of them without a new entry in any index."""
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select pg_stat_clear_snapshot()")
    return {row["relname"]: (row["changed"], row["hot"]) for row in connection.execute(HOT, (TABLES,))}


def test_progress_and_heartbeats_touch_no_index(db: Database, jobs: Jobs, worker: Any) -> None:
    """By the columns that they really change, and by what Postgres counts."""
    for _ in range(JOBS):
        jobs.add(count=2)
    with db.connect(row_factory=dict_row) as connection:
        types = {"job_types": ["sketch"], "served": ["sketch"]}
        claim = {"worker_id": worker.id, **types, "priority_seconds": 60.0}
        held = connection.execute(query("claim_jobs", JOBS), claim).fetchall()
        assert len(held) == JOBS
        worker.beat()
        rows_before, counts_before = rows(connection), hot(connection)
        for progress in range(1, PASSES + 1):
            for job in held:
                steps = [{"index": index, "progress": progress * 10 - index} for index in (0, 1)]
                parameters = {
                    "job_id": job["id"],
                    "claim_id": job["claim_id"],
                    "progress": progress,
                    "steps": Jsonb(steps),
                }
                connection.execute(query("record_progress"), parameters)
        worker.beat(idle=True)
        changed = {
            (name, column)
            for name, row in rows(connection).items()
            for column, value in row.items()
            if value != rows_before[name][column]
        }
        assert {("public.jobs", "metadata"), ("public.images", "progress"), ("consumer.workers", "beats")} <= changed
        assert not changed & indexed(connection)
        counts = hot(connection)
        for name, wanted in (("jobs", JOBS * PASSES), ("images", 2 * JOBS * PASSES)):
            updates, without = (after - before for after, before in zip(counts[name], counts_before[name], strict=True))
            assert updates == wanted
            assert without / updates > 0.9, name


def rows(connection: psycopg.Connection[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """One row of each table that progress and heartbeats change, always the same one."""
    orders = {"public.jobs": "id", "public.images": "job_id, image_index", "consumer.workers": "id"}
    return {
        name: connection.execute(f"select * from {name} order by {order} limit 1".encode()).fetchall()[0]
        for name, order in orders.items()
    }


INDEXED = """
select i.indrelid::regclass || '.' || a.attname from pg_index i
join pg_attribute a on a.attrelid = i.indrelid and (
  a.attnum = any (i.indkey) or exists (
    select from pg_depend d
    where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
      and d.refobjid = i.indrelid and d.refobjsubid = a.attnum
  )
)
where i.indrelid = any (%s::regclass[])
"""


def indexed(connection: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """Every column that an index has as a key, in an expression or in its condition."""
    names = connection.cursor(row_factory=scalar_row).execute(INDEXED, (TABLES,)).fetchall()
    found = {tuple((name if name.count(".") == 2 else f"public.{name}").rsplit(".", 1)) for name in names}
    assert {("public.jobs", "status"), ("public.jobs", "queue_at"), ("public.images", "job_id")} <= found
    return found  # type: ignore[return-value]
