"""A database that has the platform's tables, and rows in them: we move in and out, and nothing of it is lost."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

import adopted
from adopted import USER, key
from consumer import job_types, migrate
from consumer.database import Database as Pool
from consumer.errors import DatabaseRefusedError
from consumer.job import Medium
from consumer.preflight import examine
from consumer.statements import migration
from jobs import Hands, Jobs
from postgres import Database, Databases
from schema_picture import run_program
from stages import state
from workers import eventually

TABLES = ("jobs", "images", "videos")
ORPHANS = {
    "images": [201, 202, 61],
    "videos": [101, 103],
}
"""The last digits of the rows that nobody will finish, in order of `reason` (no job, its job is over) and id."""

Contents = dict[str, dict[UUID, Any]]


@pytest.fixture(scope="module")
def platform(databases: Databases) -> Iterator[Database]:
    """The platform's database, to be cloned."""
    with adopted.platform(databases) as db:
        yield db


@pytest.fixture
def before(databases: Databases, platform: Database) -> Iterator[Database]:
    """The platform's database, without our migrations."""
    with databases.clone(platform.name) as db:
        yield db


@pytest.fixture
def db(before: Database) -> Database:
    """The same database, adopted."""
    migrate.upgrade(before.dsn)
    migrate.push_job_types(before.dsn, job_types.load().values())
    return before


@pytest.fixture
def jobs(db: Database) -> Jobs:
    """Its rows, as the user who has been there for long."""
    jobs = Jobs(db)
    jobs.user = USER
    return jobs


@pytest.fixture
def worker(db: Database, runner: asyncio.Runner) -> Iterator[Hands]:
    pool = Pool(db.dsn)
    runner.run(pool.open())
    yield Hands(runner, pool)
    runner.run(pool.close())


def contents(db: Database, columns: dict[str, str]) -> Contents:
    """Every row of the platform's tables by its id, with these columns as the text that the database prints."""
    with db.connect() as connection:
        return {
            table: dict(connection.execute(f"select id, row({names})::text from public.{table}".encode()).fetchall())
            for table, names in columns.items()
        }


def columns(db: Database) -> dict[str, str]:
    """The columns that the platform's tables have now."""
    listed = "select string_agg(attname, ', ') from pg_attribute where attrelid = %s::regclass and attnum > 0"
    with db.connect() as connection:
        found = [connection.execute(listed, (f"public.{table}",)).fetchone() for table in TABLES]
    return {table: names for table, (names,) in zip(TABLES, found, strict=True)}


def without(rows: Contents, gone: dict[str, list[int]]) -> Contents:
    """The rows but these."""
    keys = {key(table, number) for table, numbers in gone.items() for number in numbers}
    return {table: {k: row for k, row in found.items() if k not in keys} for table, found in rows.items()}


def psql(db: Database, script: str) -> None:
    run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", db.dsn, stdin=script)


def test_moving_in_changes_no_row_and_moving_out_leaves_nothing(before: Database) -> None:
    theirs, platform = columns(before), state(before)
    rows = contents(before, theirs)
    assert [len(rows[table]) for table in TABLES] == [13, 14, 6]
    migrate.upgrade(before.dsn)
    assert contents(before, theirs) == without(rows, ORPHANS)
    migrate.downgrade(before.dsn, "base")
    assert state(before) == platform
    assert contents(before, theirs) == rows


def test_moving_out_and_in_again_is_no_different_from_moving_in(db: Database) -> None:
    moved_in = state(db)
    migrate.downgrade(db.dsn, "base")
    migrate.upgrade(db.dsn)
    assert state(db) == moved_in


def test_the_printed_sql_has_the_same_effect(databases: Databases, platform: Database, db: Database) -> None:
    theirs = columns(platform)
    with databases.clone(platform.name) as other:
        psql(other, migrate.offline_sql())
        assert state(other) == state(db)
        assert contents(other, theirs) == contents(db, theirs) == without(contents(platform, theirs), ORPHANS)


OWN_RULES = {
    "policies": "select * from pg_policies where schemaname = 'public' and policyname not like 'consumer_%'",
    "grants": "select relname, array(select a::text from unnest(relacl) as a"
    " where a::text not like 'consumer_worker=%') "
    "from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'",
    "identities": "select relname, relreplident from pg_class where relname in ('jobs', 'images', 'videos')",
    "constraints": "select conname, pg_get_constraintdef(oid) from pg_constraint"
    " where connamespace = 'public'::regnamespace and contype in ('c', 'f', 'p')"
    " and conname not in ('videos_job_id_fkey', 'jobs_status_check')",
    "triggers": "select tgname, pg_get_triggerdef(oid) from pg_trigger"
    " where not tgisinternal and tgname not like 'consumer_%'",
}


@pytest.mark.parametrize("kind", OWN_RULES)
def test_the_platforms_own_rules_stay_as_they_were(before: Database, kind: str) -> None:
    with before.connect() as connection:
        own = sorted(map(str, connection.execute(OWN_RULES[kind].encode())))
        migrate.upgrade(before.dsn)
        assert own
        assert sorted(map(str, connection.execute(OWN_RULES[kind].encode()))) == own


@pytest.mark.parametrize("function", ["cancel_job", "retry_job"])
def test_a_function_of_the_application_is_not_replaced(before: Database, function: str) -> None:
    with before.connect() as connection:
        body = "select ''their own''::text"
        connection.execute(f"create function public.{function}(uuid) returns text language sql as '{body}'".encode())
        with pytest.raises(DatabaseRefusedError) as caught:
            migrate.upgrade(before.dsn)
        assert str(caught.value) == (
            "Revision 0010 cancel and retry: "
            f"There is already a function public.{function}(uuid), and it is not ours; rename it first."
        )
        migrate.downgrade(before.dsn, "base")
        assert connection.execute(f"select public.{function}(gen_random_uuid())".encode()).fetchone() == ("their own",)


# Duplicates stop it before anything is built, by whichever way.

TWINS = f"""
insert into public.images (user_id, prompt, job_id, image_index, status)
select user_id, 'A twin', id, 0, 'pending' from public.jobs, generate_series(1, 2) where id = '{key("jobs", 13)}';
"""
TOLD = (
    "In public.images 1 pairs of job_id and image_index stand in more than one row each. This shows them: "
    "select job_id, image_index, array_agg(id order by created_at) from public.images "
    "where job_id is not null and image_index is not null group by 1, 2 having count(*) > 1; "
    "keep one row of each, and run this again."
)
BUILT = "select to_regclass('public.images_job_id_image_index_key')"


def test_duplicates_stop_a_migration_with_the_query_that_shows_them(before: Database) -> None:
    connection = before.connect()
    connection.execute(TWINS.encode())
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.upgrade(before.dsn)
    assert str(caught.value) == f"Revision 0003 unique image index: {TOLD}"
    [(job, index, twins)] = connection.execute(TOLD[TOLD.index("select") : TOLD.index(";")].encode()).fetchall()
    assert (job, index, len(twins)) == (key("jobs", 13), 0, 2)
    assert connection.execute(BUILT).fetchone() == (None,)
    connection.execute("delete from public.images where id = %s", (twins[1],))
    migrate.upgrade(before.dsn)
    assert connection.execute(BUILT).fetchone() != (None,)


def test_duplicates_stop_the_printed_sql_with_the_same_sentence(before: Database) -> None:
    before.connect().execute(TWINS.encode())
    with pytest.raises(subprocess.CalledProcessError) as caught:
        psql(before, migrate.offline_sql())
    assert TOLD in caught.value.stderr
    assert before.connect().execute(BUILT).fetchone() == (None,)


# The one rule that is replaced.

STATUS = "select pg_get_constraintdef(oid), convalidated, obj_description(oid, 'pg_constraint')"
STATUS += " from pg_constraint where conname = %s and conrelid = %s::regclass"


def rule(db: Database, table: str = "jobs") -> tuple[str, bool, str | None]:
    [row] = db.connect().execute(STATUS, (f"{table}_status_check", f"public.{table}")).fetchall()
    return row


def test_a_job_can_be_cancelled_although_the_platform_knew_no_such_word(db: Database, jobs: Jobs) -> None:
    definition, valid, _ = rule(db)
    assert "cancelled" in definition
    assert valid
    with pytest.raises(psycopg.errors.CheckViolation):
        jobs.run("update public.jobs set status = 'odd'")
    job_id = jobs.add("sdxl_image_fast", 2)
    assert jobs.value("select public.cancel_job(%s)", job_id) == "cancelled"
    assert (jobs.get(job_id)["status"], [i["status"] for i in jobs.images(job_id)]) == ("cancelled", ["cancelled"] * 2)


def test_the_old_rule_does_not_come_back_over_a_cancelled_job(db: Database, jobs: Jobs) -> None:
    job_id = jobs.add("sdxl_image_fast")
    jobs.run("select public.cancel_job(%s)", job_id)
    moved_in = state(db)
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.downgrade(db.dsn, "base")
    assert str(caught.value) == (
        "Revision 0013 cancelled status: "
        "Rows of public.jobs have the status cancelled, which its rule jobs_status_check did not know before; "
        "change or delete them before going below revision 0013."
    )
    assert (state(db), len(orphans(db))) == (moved_in, 5)
    jobs.set(job_id, status="failed")
    migrate.downgrade(db.dsn, "base")
    assert "cancelled" not in rule(db)[0]


ODD_RULES = {
    "never validated, with a comment": (
        "alter table public.jobs drop constraint jobs_status_check, add constraint jobs_status_check"
        " check (status in ('queued', 'processing', 'completed', 'failed')) not valid;"
        "comment on constraint jobs_status_check on public.jobs is 'It''s ours.'"
    ),
    "a varchar, and no rule for heirs": (
        "alter table public.jobs drop constraint jobs_status_check, alter column status type varchar(20),"
        " add constraint jobs_status_check check (status <> 'cancelled' and length(status) > 2) no inherit"
    ),
    "another table, several words": (
        "alter table public.images add constraint images_status_check"
        " check (status in ('pending', 'generating', 'completed', 'failed', 'queued'))"
    ),
}


@pytest.mark.parametrize("odd", ODD_RULES)
def test_a_rule_of_another_kind_is_replaced_and_restored_word_for_word(before: Database, odd: str) -> None:
    connection = before.connect()
    connection.execute(ODD_RULES[odd].encode())
    table = "images" if "images" in ODD_RULES[odd] else "jobs"
    old, platform = rule(before, table), state(before)
    migrate.upgrade(before.dsn)
    new = rule(before, table)
    assert new[0] != old[0]
    assert new[1:] == old[1:]
    migrate.push_job_types(before.dsn, job_types.load().values())
    jobs = Jobs(before)
    jobs.user = USER
    job_id = jobs.add("sdxl_image_fast", 2)
    for word in ("processing", "cancelled"):
        jobs.run(f"update public.{table} set status = %s where job_id = %s".replace("job_id", "id", table == "jobs"),
                 word, job_id)  # fmt: skip
    jobs.run("delete from public.jobs where id = %s", job_id)
    migrate.downgrade(before.dsn, "base")
    assert rule(before, table) == old
    assert state(before) == platform


@pytest.mark.parametrize(
    "change",
    [
        "add column priority bigint not null default 0",
        "add column priority numeric not null default 0",
        "add column priority smallint",
        'alter column job_type type text collate "C"',
        "alter column job_type type varchar(60)",
    ],
)
def test_jobs_are_claimed_whatever_types_the_columns_of_the_line_had(
    before: Database, runner: asyncio.Runner, change: str
) -> None:
    before.connect().execute(f"alter table public.jobs {change}".encode())
    migrate.upgrade(before.dsn)
    migrate.push_job_types(before.dsn, job_types.load().values())
    jobs = Jobs(before)
    jobs.user = USER
    wanted = [jobs.add("sdxl_image_fast"), jobs.add("image_fast")]
    pool = Pool(before.dsn)
    runner.run(pool.open())
    worker = Hands(runner, pool)
    taken = [worker.take("sdxl_image_fast", "image_fast").id for _ in wanted]
    runner.run(pool.close())
    assert sorted(taken) == sorted(wanted)


@pytest.mark.parametrize("whole", ["smallint", "bigint", "numeric"])
def test_a_claim_tells_what_is_pending_whatever_type_the_index_had(
    before: Database, runner: asyncio.Runner, whole: str
) -> None:
    with before.connect() as application:
        application.execute(f"alter table public.images alter column image_index type {whole}".encode())
    migrate.upgrade(before.dsn)
    migrate.push_job_types(before.dsn, job_types.load().values())
    jobs = Jobs(before)
    jobs.user = USER
    wanted = [jobs.add("sdxl_image_fast", count=2) for _ in range(3)]
    pool = Pool(before.dsn)
    runner.run(pool.open())
    worker = Hands(runner, pool)
    taken = [job for limit in (1, 3) for job in worker.do(worker.queue.claim_jobs(["sdxl_image_fast"], limit))]
    runner.run(pool.close())
    assert [(job.id, job.pending) for job in taken] == [(job_id, [0, 1]) for job_id in wanted]


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize(("below", "revision"), [("0012", "0013"), ("0013", "0014")])
def test_what_broke_off_at_any_statement_is_finished(
    databases: Databases, before: Database, below: str, revision: str, direction: str
) -> None:
    theirs = columns(before)
    migrate.upgrade(before.dsn, below)
    lower = state(before), contents(before, theirs)
    with databases.clone(before.name) as whole:
        migrate.upgrade(whole.dsn, revision)
        upper = state(whole), contents(whole, theirs)
    if direction == "down":
        migrate.upgrade(before.dsn, revision)
    lines, _ = migration(revision, direction)
    with psycopg.connect(before.dsn, autocommit=True) as connection:
        for last in range(1, len(lines) + 1):
            for line in lines[:last]:
                connection.execute(line.encode())
    if direction == "up":
        migrate.upgrade(before.dsn, revision)
        assert (state(before), contents(before, theirs)) == upper
    else:
        migrate.downgrade(before.dsn, below)
        assert (state(before), contents(before, theirs)) == lower


@pytest.mark.parametrize("odd", ["plain", *ODD_RULES])
@pytest.mark.parametrize(("below", "revision"), [("0012", "0013"), ("0013", "0014"), ("0017", "0018")])
def test_a_way_up_that_broke_off_after_any_statement_is_taken_back(
    before: Database, below: str, revision: str, odd: str
) -> None:
    """Its statements are for good, and no revision says so."""
    before.connect().execute(ODD_RULES.get(odd, "select").encode())
    theirs, platform = columns(before), state(before)
    rows = contents(before, theirs)
    migrate.upgrade(before.dsn, below)
    lower = state(before), contents(before, theirs)
    lines, _ = migration(revision, "up")
    for last in range(1, len(lines) + 1):
        with psycopg.connect(before.dsn, autocommit=True) as connection:
            for line in lines[:last]:
                connection.execute(line.encode())
        migrate.downgrade(before.dsn, below)
        assert (state(before), contents(before, theirs)) == lower, f"after {last} of {len(lines)} statements"
    with psycopg.connect(before.dsn, autocommit=True) as connection:
        for line in lines:
            connection.execute(line.encode())
    migrate.downgrade(before.dsn, "base")
    assert (state(before), contents(before, theirs)) == (platform, rows)


# Placeholders that nobody will finish.


def orphans(db: Database) -> list[tuple[str, UUID, str]]:
    moved = "select table_name, id, reason from consumer.orphans order by table_name, reason desc, id"
    return db.connect().execute(moved).fetchall()


def test_placeholders_that_nobody_will_finish_are_moved_aside_whole(db: Database) -> None:
    reasons = ["no job", "no job", "its job is over", "no job", "no job"]
    moved = [(table, key(table, number)) for table, numbers in ORPHANS.items() for number in numbers]
    assert orphans(db) == [(*row, reason) for row, reason in zip(moved, reasons, strict=True)]
    shown = "select row ->> 'status', row ->> 'prompt' from consumer.orphans where id = %s"
    assert db.connect().execute(shown, (key("images", 61),)).fetchone() == ("queued", "A picture")


ALIVE = {
    "a day and not more": "update public.images set updated_at = now() - interval '23 hours' where id = '{id}'",
    "a status that nobody knows": "update public.images set status = 'paused' where id = '{id}'",
    "a thumbnail": "update public.images set thumbnail_url = '0.webp' where id = '{id}'",
    "pictures in the column of old": "update public.images set image_urls = '[\"0.png\"]' where id = '{id}'",
    "the picture of a job": "update public.jobs set image_id = '{id}' where id = '" + str(key("jobs", 6)) + "'",
    "named by a job in line": (
        "update public.jobs set metadata = jsonb_build_object('image_ids', jsonb_build_array('{id}'))"
        " where id = '" + str(key("jobs", 7)) + "'"
    ),
    "of a job in line": "update public.images set job_id = '" + str(key("jobs", 2)) + "' where id = '{id}'",
    "of a job with no status": "update public.images set job_id = '" + str(key("jobs", 7)) + "' where id = '{id}'",
    "referred to by a table of which nobody told us": (
        "create table public.covers (image_id uuid primary key references public.images (id) on delete cascade);"
        "insert into public.covers (image_id) values ('{id}')"
    ),
    "referred to by two columns": (
        "alter table public.images add unique (user_id, id);"
        "create table public.likes (a uuid, b uuid, primary key (a, b),"
        " foreign key (a, b) references public.images (user_id, id) on delete cascade);"
        "insert into public.likes select user_id, id from public.images where id = '{id}'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", ALIVE)
def test_a_placeholder_that_somebody_may_need_stays(before: Database, why: str) -> None:
    row = key("images", 201)
    before.connect().execute(ALIVE[why].replace("{id}", str(row)).encode())
    theirs = columns(before)
    rows = contents(before, theirs)
    migrate.upgrade(before.dsn)
    kept = {**ORPHANS, "images": [202, 61]}
    assert contents(before, theirs) == without(rows, kept)
    assert row not in [moved for _, moved, _ in orphans(before)]


def test_a_placeholder_that_a_job_is_just_being_linked_to_stays(before: Database) -> None:
    """Deleting it would delete that job by the foreign key's cascade."""
    migrate.upgrade(before.dsn, "0013")
    with before.connect(autocommit=False) as application:
        insert = "insert into public.jobs (user_id, job_type, image_id) values (%s, 'rv51_fast', %s) returning id"
        [(job_id,)] = application.execute(insert, (USER, key("images", 201))).fetchall()
        migrate.upgrade(before.dsn, "0014")
        application.commit()
    linked = "select i.id from public.jobs j join public.images i on i.id = j.image_id where j.id = %s"
    assert before.connect().execute(linked, (job_id,)).fetchall() == [(key("images", 201),)]
    assert [moved for table, moved, _ in orphans(before) if table == "images"] == [
        key("images", 202),
        key("images", 61),
    ]


def test_many_placeholders_are_moved_in_batches_and_come_back(before: Database) -> None:
    connection = before.connect()
    crowd = (
        "insert into public.images (user_id, prompt, created_at, updated_at, metadata, reference_strength)"
        " select id, 'A crowd', '2025-07-01', '2025-07-01', 'null', 0.50 from public.profiles, generate_series(1, 1250)"
    )
    connection.execute(crowd.encode())
    theirs = columns(before)
    rows = contents(before, theirs)
    migrate.upgrade(before.dsn)
    batches = "select count(*) from consumer.orphans where table_name = 'images' group by xmin::text order by 1 desc"
    assert connection.execute(batches).fetchall() == [(1000,), (1000,), (503,)]
    migrate.downgrade(before.dsn, "0013")
    assert contents(before, theirs) == rows


HELD = """
create function public.hold() returns trigger language plpgsql as $$
begin
  if old.id = (select id from public.images where title = 'The last' limit 1) then
    perform pg_advisory_xact_lock_shared(73);
  end if;
  return old;
end
$$;
create trigger hold before delete on public.images for each row execute function public.hold();
"""
CROWD = """
insert into public.images (id, user_id, prompt, title, created_at, updated_at)
select ('ffffffff-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, (select id from public.profiles limit 1),
  'A crowd', case when n = 1500 then 'The last' end, '2025-07-01', '2025-07-01'
from generate_series(1, 1500) as n
"""
UP = "import os; from consumer import migrate; migrate.upgrade(os.environ['DATABASE_URL'])"


def test_after_a_way_up_that_was_killed_between_two_batches_the_way_back_loses_no_row(before: Database) -> None:
    gate = before.connect()
    gate.execute(f"{HELD}{CROWD}; select pg_advisory_lock(73)".encode())
    theirs, platform = columns(before), state(before)
    rows = contents(before, theirs)
    up = subprocess.Popen([sys.executable, "-c", UP], env=os.environ | {"DATABASE_URL": before.dsn})
    waiting = (
        "select pid from pg_locks where locktype = 'advisory' and objid = 73 and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    pid = eventually(lambda: gate.execute(waiting).fetchone(), "the second batch is under way")
    up.kill()
    up.wait()
    gate.execute("select pg_terminate_backend(%s, 10000)", pid)
    assert migrate.current(before.dsn) == "0013"
    assert len(orphans(before)) == 1000
    gate.execute("select pg_advisory_unlock(73)")
    migrate.downgrade(before.dsn, "base")
    assert (state(before), contents(before, theirs)) == (platform, rows)
    migrate.upgrade(before.dsn)
    assert len(orphans(before)) == 1505


LEFT = (
    "consumer.orphans holds rows that have not gone back to their tables. Revision 0014 brings them back: "
    "run consumer migrate up, then consumer migrate down base."
)


def test_orphans_that_a_way_back_overlooked_keep_it_closed_and_the_next_one_brings_them_back(before: Database) -> None:
    """As an interrupted way up and a way back past it once left them."""
    theirs, platform = columns(before), state(before)
    rows = contents(before, theirs)
    migrate.upgrade(before.dsn, "0014")
    connection = before.connect()
    connection.execute("update consumer.alembic_version set version_num = '0012'")
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.downgrade(before.dsn, "base")
    assert str(caught.value) == f"Revision 0001 baseline: {LEFT}"
    with pytest.raises(subprocess.CalledProcessError) as printed:
        psql(before, migrate.offline_sql("0012:base", "down"))
    assert LEFT in printed.value.stderr

    assert migrate.current(before.dsn) == "0001"
    for line in migration("0001", "down")[0]:
        if "-- Tried first" not in line:
            connection.execute(line.encode())
    connection.execute("delete from consumer.alembic_version")
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.downgrade(before.dsn, "base")
    assert str(caught.value) == f"Revision 0001 baseline: {LEFT}"
    [found] = [each for each in examine(before.dsn, job_types.load()) if each.check == "surroundings"]
    assert (found.level, f"{found.sentence} {found.remedy}") == (
        "note",
        ("The schema consumer holds what an interrupted migration left there. `consumer migrate up` goes on with it; "
        "`consumer migrate down base` after that takes it out."),
    )  # fmt: skip
    migrate.upgrade(before.dsn)
    assert [len(orphans(before)), len(contents(before, theirs)["images"])] == [5, 11]
    migrate.downgrade(before.dsn, "base")
    assert (state(before), contents(before, theirs)) == (platform, rows)


@pytest.mark.parametrize("made", ["", "; create table consumer.theirs (id int)"])
def test_a_schema_of_that_name_that_is_not_ours_is_to_be_renamed(before: Database, made: str) -> None:
    before.connect().execute(f"create schema consumer{made}".encode())
    [found] = [each for each in examine(before.dsn, job_types.load()) if each.check == "surroundings"]
    if made:
        assert found.sentence == "There is a schema consumer already, and it is not ours."
        assert found.remedy == "alter schema consumer rename to ...;"
    else:
        assert found.level == "ok"


@pytest.mark.parametrize(
    ("made", "remedy"),
    [("theirs", "Migrate as that role, or rename the schema."), ("orphans", "Migrate as that role.")],
)
def test_a_schema_of_another_role_is_to_be_renamed_only_where_it_is_not_ours(
    before: Database, made: str, remedy: str
) -> None:
    with before.connect(before.admin_dsn) as admin:
        admin.execute(f"create schema consumer; create table consumer.{made} (object text)".encode())
    [found] = [each for each in examine(before.dsn, job_types.load()) if each.check == "surroundings"]
    assert (found.level, found.sentence, found.remedy) == (
        "stop", "The schema consumer belongs to another role.", remedy,
    )  # fmt: skip


def test_the_same_in_one_transaction_is_one_batch(before: Database) -> None:
    """As a tool does it that runs a whole file in one transaction."""
    migrate.upgrade(before.dsn, "0013")
    with psycopg.connect(before.dsn) as connection:
        for line in migration("0014", "up")[0]:
            connection.execute(line.encode())
    assert len(orphans(before)) == 5


def test_an_orphan_whose_user_has_gone_keeps_the_way_back_closed(db: Database, jobs: Jobs) -> None:
    jobs.run("delete from auth.users where id = '00000000-0000-4000-8000-000000000002'")
    moved_in, moved = state(db), orphans(db)
    with pytest.raises(DatabaseRefusedError) as caught:
        migrate.downgrade(db.dsn, "base")
    assert str(caught.value) == (
        "Revision 0014 orphans: "
        'A row of consumer.orphans cannot go back to public.images: insert or update on table "images" violates '
        'foreign key constraint "images_user_id_fkey". Delete or change it there before going below revision 0014.'
    )
    assert (state(db), orphans(db)) == (moved_in, moved)
    jobs.run("delete from consumer.orphans where row ->> 'user_id' = '00000000-0000-4000-8000-000000000002'")
    migrate.downgrade(db.dsn, "base")
    assert jobs.value("select count(*) from public.images where id = %s", key("images", 201)) == 1


# Jobs from before.


def test_jobs_that_were_queued_before_are_not_put_in_line(jobs: Jobs, worker: Hands) -> None:
    assert jobs.value("select count(*) from public.jobs where status = 'queued' or status is null") == 6
    place = "engine is not null or queue_at is not null or start_tag is not null or claim_id is not null"
    assert jobs.run(f"select id from public.jobs where {place}") == []
    assert worker.promote() == (0, None)
    assert worker.claim("video_fast", "sdxl_image_fast", "image_high") is None


def test_a_new_job_ends_as_the_platforms_frontends_expect(db: Database, jobs: Jobs, worker: Hands) -> None:
    """The browser inserts the job, then its rows, last one first; the platform's triggers and policies are in force."""
    insert = "insert into public.jobs (user_id, job_type, status, metadata) values (%s, %s, 'queued', %s) returning id"
    [(job_id,)] = db.execute_as(jobs.user, insert, [jobs.user, "sdxl_image_fast", Jsonb({"num_images": 2})])
    row = "insert into public.images (user_id, prompt, job_id, image_index) values (%s, 'mine', %s, %s)"
    for index in (1, 0):
        db.execute_as(jobs.user, row, [jobs.user, job_id, index])
    job = worker.take("sdxl_image_fast")
    for index in (0, 1):
        assert worker.record(job, index)
    assert worker.complete(job, 2) == (True, True)
    ended, images, _ = jobs.rows(job_id)
    assert (ended["status"], ended["image_id"], ended["max_attempts"]) == ("completed", images[0]["id"], 3)
    assert [(i["image_index"], i["status"], i["prompt"]) for i in images] == [
        (0, "completed", "mine"),
        (1, "completed", "mine"),
    ]


@pytest.mark.parametrize("state", ["queued", "claimed", "recorded", "completed"])
def test_a_video_that_the_browser_links_late_shows_the_result(
    db: Database, jobs: Jobs, worker: Hands, state: str
) -> None:
    """All that the browser can say of a video is jobs.video_id, and it says it when it comes to it."""
    insert = "insert into public.jobs (user_id, job_type) values (%s, 'video_fast') returning id"
    [(job_id,)] = db.execute_as(jobs.user, insert, [jobs.user])
    [(mine,)] = db.execute_as(
        jobs.user, "insert into public.videos (user_id, title) values (%s, 'mine') returning id", [jobs.user]
    )
    job = worker.take("video_fast") if state != "queued" else None
    if state in ("recorded", "completed"):
        assert job
        assert worker.record(job, 0, Medium.video, duration_seconds=5.0)
    if state == "completed":
        assert job
        assert worker.complete(job) == (True, True)
    db.execute_as(jobs.user, "update public.jobs set video_id = %s where id = %s", [mine, job_id])
    if state in ("queued", "claimed"):
        job = job or worker.take("video_fast")
        assert worker.record(job, 0, Medium.video, duration_seconds=5.0)
    if state != "completed":
        assert job
        assert worker.complete(job) == (True, True)
    ended, _, videos = jobs.rows(job_id)
    assert (ended["status"], ended["video_id"]) == ("completed", mine)
    [video] = videos
    assert (video["id"], video["title"], video["status"], video["duration"]) == (mine, "mine", "completed", 5)
    assert video["video_url"] == f"{jobs.user}/{job_id}/0.mp4"


@pytest.mark.parametrize("state", ["queued", "claimed", "recorded", "completed"])
@pytest.mark.parametrize("linked", [True, False], ids=["linked", "inserted"])
def test_images_without_an_index_are_taken_up_whenever_they_come(
    db: Database, jobs: Jobs, worker: Hands, state: str, linked: bool
) -> None:
    """A worker that the job's INSERT woke may have claimed it, and even be done, when the browser comes to its rows."""
    insert = "insert into public.jobs (user_id, job_type, metadata) values (%s, 'sdxl_image_fast', %s) returning id"
    [(job_id,)] = db.execute_as(jobs.user, insert, [jobs.user, Jsonb({"num_images": 2})])
    job = worker.take("sdxl_image_fast") if state != "queued" else None
    for index in {"recorded": [1], "completed": [0, 1]}.get(state, []):
        assert worker.record(job, index)
    if state == "completed":
        assert worker.complete(job, 2) == (True, True)
    row = "insert into public.images (user_id, prompt, job_id) values (%s, 'mine', %s) returning id"
    mine = [db.execute_as(jobs.user, row, [jobs.user, None if linked else job_id])[0][0] for _ in range(2)]
    for each in mine if linked else []:
        db.execute_as(jobs.user, "update public.images set job_id = %s where id = %s", [job_id, each])
    if state != "completed":
        job = job or worker.take("sdxl_image_fast")
        for index in worker.do(worker.assets.pending(job, Medium.image, 2)):
            assert worker.record(job, index)
        assert worker.complete(job, 2) == (True, True)
    ended, images, _ = jobs.rows(job_id)
    assert (ended["status"], ended["image_id"]) == ("completed", images[0]["id"])
    assert sorted(image["id"] for image in images) == sorted(mine)
    assert [(i["image_index"], i["status"], i["prompt"], i["seed"]) for i in images] == [
        (0, "completed", "mine", 7), (1, "completed", "mine", 8),
    ]  # fmt: skip


def test_another_users_video_is_not_taken_up(db: Database, jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add("video_fast")
    foreign = jobs.insert("videos", {"user_id": UUID("00000000-0000-4000-8000-000000000002")})
    jobs.set(job_id, video_id=foreign)
    [own] = jobs.videos(job_id)
    assert own["id"] != foreign
    assert jobs.value("select job_id from public.videos where id = %s", foreign) is None


def test_nulls_do_no_harm_to_an_attempt(jobs: Jobs, worker: Hands) -> None:
    """A user may write NULL into whatever is nullable; and what ends an attempt must not lose its columns to it."""
    for end in ("retry", "fail", "release", "rescue"):
        job_id = jobs.add("sdxl_image_fast")
        jobs.set(job_id, attempts=None, max_attempts=None, metadata=None)
        job = worker.take("sdxl_image_fast")
        assert (job.id, job.attempts, job.max_attempts) == (job_id, 1, 3)
        assert 0 <= jobs.get(job_id)["metadata"]["seed"] < 2**31
        jobs.set(job_id, metadata=None)
        if end == "rescue":
            assert worker.rescue(worker.id, None) == [(job_id, "queued")]
        else:
            assert getattr(worker, end)(job)
        ended = jobs.get(job_id)
        assert ended["status"] == ("failed" if end == "fail" else "queued")
        assert ended["attempts"] == (0 if end == "release" else 1)
        assert len(ended["errors"]) == (0 if end == "release" else 1)
        if end == "fail":
            assert ended["metadata"]["error_type"] == "OddError"
        jobs.run("delete from public.jobs where id = %s", job_id)


@pytest.mark.parametrize("odd", [None, Jsonb([]), Jsonb(None)])
def test_nulls_do_no_harm_to_the_users_wishes(jobs: Jobs, odd: Any) -> None:
    job_id = jobs.add("sdxl_image_fast")
    jobs.run("update public.jobs set status = null, attempts = null, metadata = %s where id = %s", odd, job_id)
    assert jobs.value("select public.cancel_job(%s)", job_id) == "cancelled"
    jobs.run("update public.jobs set metadata = %s, attempts = null where id = %s", odd, job_id)
    if not isinstance(odd, Jsonb):
        assert jobs.value("select public.retry_job(%s)", job_id) == "queued"
        assert jobs.get(job_id)["attempts"] == 0


def test_moving_out_keeps_the_results_of_what_we_did(db: Database, jobs: Jobs, worker: Hands) -> None:
    job_id = jobs.add("video_fast")
    job = worker.take("video_fast")
    worker.record(job, 0, Medium.video, duration_seconds=5.0)
    assert worker.complete(job) == (True, True)
    migrate.downgrade(db.dsn, "base")
    done = "select v.video_url, v.duration from public.jobs j join public.videos v on v.id = j.video_id where j.id = %s"
    assert jobs.run(done, job_id) == [{"video_url": f"{jobs.user}/{job_id}/0.mp4", "duration": 5}]
